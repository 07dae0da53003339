"""`sweep --twin` reads recordings and refuses what they cannot predict; the twins themselves run in tests/vllm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine_probe.commands.sweep.twin import limits, predicted
from engine_probe.engine.models.catalogue import catalogue_config
from engine_probe.engine.twin.drafts.acceptance import Acceptance
from engine_probe.engine.twin.settings import Twin
from engine_probe.engine.twin.step_work import StepWork
from engine_probe.errors import InputError
from engine_probe.files.config_file import convert
from engine_probe.sweep.definition.loader import read_sweep
from engine_probe.sweep.definition.sweep_file import SweepFile, points
from engine_probe.sweep.preflight.device_plan import plan_on
from kernels_bench.results import MEASURED, Result
from tests.support.recordings.hardware_facts import loaded
from tests.support.recordings.hardware_reports import box, measured
from tests.support.recordings.run_folders import facts, ran, write_run, write_sweep

MS = 1_000_000


@pytest.fixture
def swept(tmp_path: Path) -> Path:
    return write_sweep(tmp_path / "swept", (1, 2, 4, 8, 16, 24))


@pytest.fixture
def sweep(tmp_path: Path) -> SweepFile:
    return asked(tmp_path)


def asked(folder: Path, more: str = "", arguments: str = "", model: str = "unknown/model") -> SweepFile:
    return read_sweep(str(asked_file(folder, more, arguments, model)))


def asked_file(folder: Path, more: str = "", arguments: str = "", model: str = "unknown/model") -> Path:
    path = folder / "asked.toml"
    path.write_text(
        f'question = "What will it do?"\n{more}\n[engine]\nmodel = "{model}"\n[engine.arguments]\n{arguments}\n'
        "[workload]\ninput_len = 48\noutput_len = 40\nconcurrency = 4\n"
    )
    return path


def twin_of(sweep: SweepFile) -> Twin:
    assert sweep.engine.twin is not None
    return msgspec.convert(sweep.engine.twin, Twin)


@pytest.mark.lengthy
def test_step_times_are_those_of_the_recordings(sweep: SweepFile, swept: Path) -> None:
    """The simulated engine takes 2 ms a step and 0.1 ms a token."""
    times = twin_of(predicted(sweep, str(swept))).step_times
    for work in (StepWork(4, 0, 4, 0, 250), StepWork(16, 0, 16, 0, 1200), StepWork(5, 48, 4, 1176, 250)):
        tokens = work.prompt_tokens + work.answer_tokens
        assert times.ns(work) == pytest.approx(2 * MS + tokens * MS // 10, rel=0.02)


@pytest.mark.lengthy
def test_the_limits_are_those_of_the_recorded_engine(sweep: SweepFile, swept: Path) -> None:
    found = twin_of(predicted(sweep, str(swept))).limits
    assert found["num_gpu_blocks_override"] == 61
    assert found["block_size"] == 16
    assert found["max_num_batched_tokens"] == 512
    assert found["async_scheduling"] is False


def test_a_predicted_sweep_is_read_again(sweep: SweepFile, swept: Path, tmp_path: Path) -> None:
    """As `--resume` does, from `sweep.json`; its points are others than the measured ones."""
    twin = predicted(sweep, str(swept))
    again = convert(json.loads(msgspec.json.encode(twin)), SweepFile, {})
    assert again.engine.twin == twin.engine.twin


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ("[stop]\nsteady = { within = 0.05 }", "stop.steady: a twin has no noise"),
        ('operators = "8@20"', "operators: a twin computes no tokens"),
        ("replicas = 2", "replicas and mix: a twin predicts one engine"),
    ],
)
def test_what_a_twin_cannot_do_is_refused(tmp_path: Path, swept: Path, more: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        predicted(asked(tmp_path, more), str(swept))


@pytest.mark.lengthy
def test_each_data_parallel_core_is_such_an_engine_as_was_recorded(tmp_path: Path, swept: Path) -> None:
    found = predicted(asked(tmp_path, arguments="data_parallel_size = 2"), str(swept))
    assert [point.recorded_by_core for point in points(found)] == [True]
    assert twin_of(found).limits == twin_of(predicted(asked(tmp_path), str(swept))).limits
    with pytest.raises(InputError, match="data_parallel_size = 1,025 is more than 1024: lower it"):
        predicted(asked(tmp_path, arguments="data_parallel_size = 1025"), str(swept))


@pytest.mark.parametrize("recorded", [1, 2])
def test_steps_with_collectives_are_predicted_by_recordings_with_as_many_ranks_alone(
    tmp_path: Path, recorded: int
) -> None:
    """Their waiting is in the recorded steps, and so in the prices; no term tells it for another number of ranks."""
    told = recorded_with({"parallel_config": {"tensor_parallel_size": recorded}})
    run, other = write_run(tmp_path / "run", ran(8), told), 3 - recorded
    with pytest.raises(InputError, match=f"tensor_parallel_size = {other}, but .* recorded {recorded}: its step times"):
        predicted(asked(tmp_path, arguments=f"tensor_parallel_size = {other}"), str(run))
    assert limits(told)["tensor_parallel_size"] == recorded  # where the sweep does not say


def test_answers_that_end_themselves_are_refused(tmp_path: Path, swept: Path) -> None:
    sweep = read_sweep(str(asked_file(tmp_path)), ["workload.sampling={ignore_eos = false}"])
    with pytest.raises(InputError, match="does not know where an answer ends"):
        predicted(sweep, str(swept))


def test_a_twin_that_nobody_wrote_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"twin is not what sweep --twin writes: .*step_times"):
        read_sweep(str(asked_file(tmp_path)), ["engine.twin={calibrated_from = 'x'}"])


def test_drafts_of_unknown_acceptance_are_refused(tmp_path: Path, swept: Path) -> None:
    drafts = 'speculative_config = { method = "ngram", num_speculative_tokens = 2 }'
    with pytest.raises(InputError, match="how many drafts the model accepts is not known: give it as vLLM does"):
        predicted(asked(tmp_path, arguments=drafts), str(swept))


@pytest.mark.parametrize("on", ["L40S", "recordings"])
@pytest.mark.lengthy
def test_given_drafts_are_part_of_the_twin(tmp_path: Path, swept: Path, on: str) -> None:
    drafts = (
        'speculative_config = { method = "ngram", num_speculative_tokens = 2, prompt_lookup_max = 3, '
        'rejection_sample_method = "synthetic", synthetic_acceptance_rates = [0.7, 0.4] }'
    )
    model = "llama-3.1-8b" if on == "L40S" else "unknown/model"
    twin = twin_of(predicted(asked(tmp_path, arguments=drafts, model=model), on if on == "L40S" else str(swept)))
    assert twin.acceptance == Acceptance((0.7, 0.4))
    assert twin.step_times.graph_sizes == ()


def test_a_model_with_an_encoder_is_refused_on_every_twin(tmp_path: Path, swept: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text(json.dumps({"model_type": "bart", "is_encoder_decoder": True}))
    for twin in ("L40S", str(swept)):
        with pytest.raises(InputError, match="is an encoder-decoder model"):
            predicted(asked(tmp_path, model=str(model)), twin)


def test_requests_beyond_the_window_have_no_times_from_a_data_sheet(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for window in (64, 128):
        (model / "config.json").write_text(json.dumps({**catalogue_config("mistral-7b"), "sliding_window": window}))
        if window == 64:
            with pytest.raises(InputError, match="longer than the model's sliding window of 64"):
                predicted(asked(tmp_path, model=str(model)), "L40S")
        else:
            assert twin_of(predicted(asked(tmp_path, model=str(model)), "L40S")).bounds


def test_recordings_under_other_settings_are_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", ran(8), recorded_with({"cache_config": {"cache_dtype": "auto"}}))
    with pytest.raises(InputError, match=r"kv_cache_dtype = 'fp8', but --twin .* recorded 'auto'"):
        predicted(asked(tmp_path, arguments='kv_cache_dtype = "fp8"'), str(run))


def test_another_model_is_refused(tmp_path: Path, swept: Path) -> None:
    with pytest.raises(InputError, match=r"'gpt2-xl' has 48 layers and heads of 64, the recordings"):
        predicted(asked(tmp_path, model="gpt2-xl"), str(swept))


def test_a_gpu_has_the_pool_of_its_memory_and_the_times_of_its_data_sheet(tmp_path: Path) -> None:
    arguments = "max_model_len = 4096\ngpu_memory_utilization = 0.9"
    twin = twin_of(predicted(asked(tmp_path, arguments=arguments, model="llama-3.1-8b"), "L40S"))
    assert twin.bounds
    assert twin.calibrated_from == "the datasheet of L40S"
    plan, _ = plan_on("llama-3.1-8b", "L40S", {"max_model_len": 4096, "gpu_memory_utilization": 0.9}, (48, 40))
    assert (twin.limits["num_gpu_blocks_override"] - 1) * 16 == plan.kv_capacity_tokens
    assert (twin.limits["max_num_batched_tokens"], twin.limits["max_num_seqs"]) == (8192, 256)


@pytest.mark.parametrize(("stages", "asynchronous"), [(1, True), (2, None)])
def test_whether_a_pipeline_is_scheduled_asynchronously_is_left_to_vllm(
    tmp_path: Path, stages: int, asynchronous: bool | None
) -> None:
    arguments = f"max_model_len = 4096\npipeline_parallel_size = {stages}"
    twin = twin_of(predicted(asked(tmp_path, arguments=arguments, model="llama-3.1-8b"), "L40S"))
    assert twin.limits.get("async_scheduling") is asynchronous


@pytest.mark.parametrize(
    ("model", "arguments", "gpu", "sentence"),
    [
        (
            "llama-3.1-8b",
            "",
            "H1000",
            "--twin H1000: there is neither such a folder nor a GPU of that name whose memory is known: did you mean",
        ),
        (
            "llama-3.1-70b-fp8",
            "max_model_len = 2048",
            "L40S",
            "--twin L40S: llama-3.1-70b-fp8 cannot start: the weights take",
        ),
        ("llama-3.1-8b", "max_model_len = 4096\nblock_size = 24", "L40S", "block_size = 24: vLLM's attention on GPUs"),
    ],
)
def test_a_gpu_that_cannot_is_refused(tmp_path: Path, model: str, arguments: str, gpu: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        predicted(asked(tmp_path, arguments=arguments, model=model), gpu)


def two_engines(tmp_path: Path, gpu: str) -> SweepFile:
    path = asked_file(tmp_path, arguments="max_model_len = 4096", model="llama-3.1-70b-fp8")
    path.write_text(path.read_text() + '[axes]\n"engine.arguments.tensor_parallel_size" = [1, 2]\n')
    return predicted(read_sweep(str(path)), gpu)


def test_each_engine_of_a_sweep_has_its_own_twin(tmp_path: Path) -> None:
    """Two ranks read half the weights each, so a step takes half the time."""
    one, two = (msgspec.convert(point.engine.twin, Twin) for point in points(two_engines(tmp_path, "H200")))
    assert one.step_times.prices["step"].ns == pytest.approx(2 * two.step_times.prices["step"].ns)
    assert one.limits["num_gpu_blocks_override"] < two.limits["num_gpu_blocks_override"]


def test_curves_are_named_by_settings_and_not_by_twins(tmp_path: Path) -> None:
    found = [point.curve for point in points(two_engines(tmp_path, "H200"))]
    assert found == [{"tensor_parallel_size": 1}, {"tensor_parallel_size": 2}]


def test_an_engine_that_cannot_start_has_the_reason_in_place_of_a_twin(tmp_path: Path) -> None:
    one, two = (msgspec.convert(point.engine.twin, Twin) for point in points(two_engines(tmp_path, "L40S")))
    assert str(one.refusal).startswith("--twin L40S: llama-3.1-70b-fp8 cannot start: the weights take")
    assert two.refusal is None


def test_an_engine_that_was_not_predicted_has_no_other_twin(tmp_path: Path) -> None:
    """Nor does a real engine take its place."""
    sweep = two_engines(tmp_path, "H200")
    axes = {"engine.arguments.tensor_parallel_size": [4]}
    with pytest.raises(InputError, match="lacks an engine that the sweep asks for"):
        points(msgspec.structs.replace(sweep, axes=axes))


def test_predictions_are_no_recordings(tmp_path: Path, sweep: SweepFile) -> None:
    run = write_run(tmp_path / "run", ran(8))
    document = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(document | {"predicted": {"calibrated_from": "x", "step_times": {}}}))
    with pytest.raises(InputError, match="is itself predicted"):
        predicted(sweep, str(run))


def test_too_few_steps_are_refused(tmp_path: Path, sweep: SweepFile) -> None:
    run = write_run(tmp_path / "run", ran(1))
    with pytest.raises(InputError, match="recorded steps are too few"):
        predicted(sweep, str(run))


def test_recordings_at_one_load_do_not_tell_a_tokens_time(tmp_path: Path, sweep: SweepFile) -> None:
    run = write_run(tmp_path / "run", ran(1, output=300))
    with pytest.raises(InputError, match=r"its recorded steps all continue 1 answer, so that .* at least two loads"):
        predicted(sweep, str(run))


def test_another_number_format_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", ran(8), facts())
    dtype = facts()["model"]["dtype"]
    other = "float16" if dtype != "float16" else "bfloat16"
    with pytest.raises(InputError, match=rf"dtype = '{other}', but --twin .* recorded '{dtype}'"):
        predicted(asked(tmp_path, arguments=f'dtype = "{other}"'), str(run))


def test_a_model_of_the_same_shape_but_another_size_is_refused(tmp_path: Path) -> None:
    known = facts()
    known["model"] |= {"num_layers": 32, "head_size": 128}
    known["loaded"] = [{**loaded(), "parameters": 7_241_732_096}]
    run = write_run(tmp_path / "run", ran(8), known)
    with pytest.raises(InputError, match=r"has 8.03 billion parameters, the recordings in --twin .* 7.24"):
        predicted(asked(tmp_path, model="llama-3.1-8b"), str(run))


def test_recordings_of_two_machines_are_refused(tmp_path: Path, sweep: SweepFile, swept: Path) -> None:
    for number, point in enumerate(sorted((swept / "points").iterdir())):
        document = json.loads((point / "run.json").read_text())
        gpus = [{"name": "L4" if number else "H100 NVL"}]
        (point / "run.json").write_text(json.dumps(document | {"hardware": {"gpus": gpus}}))
    with pytest.raises(InputError, match=r"recordings of 2 machines \(H100 NVL; L4\), .* give the recordings of one"):
        predicted(sweep, str(swept))


def recorded_with(sections: dict[str, dict[str, Any]]) -> dict[str, Any]:
    known = facts()
    known["engine"]["arguments"] |= sections
    return known


def written(folder: Path, report: object) -> Path:
    path = folder / "kernels.json"
    path.write_bytes(msgspec.json.encode(report))
    return path


def test_a_report_of_kernels_is_a_device(tmp_path: Path) -> None:
    attention = Result(MEASURED, (), "cuda:0", measured("attention", "decode", "B/s", 3.5e12))
    found = msgspec.structs.replace(box(), results=(*box().results, attention))
    twin = twin_of(
        predicted(
            asked(tmp_path, arguments="max_model_len = 4096", model="llama-3.1-8b"), str(written(tmp_path, found))
        )
    )
    assert not twin.bounds
    assert twin.step_times.overlaps
    assert twin.limits["async_scheduling"] is True
    assert twin.limits["num_gpu_blocks_override"] > 10_000
    assert {source.part for source in twin.step_times.sources} >= {"matrix products", "attention"}


def test_a_report_that_says_too_little_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, box())
    with pytest.raises(InputError, match="did not measure the attention of answers"):
        predicted(asked(tmp_path, arguments="max_model_len = 4096", model="llama-3.1-8b"), str(path))


def test_a_file_that_is_no_report_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "kernels.json"
    path.write_text("{}")
    with pytest.raises(InputError, match="is not a report of kernels_bench"):
        predicted(asked(tmp_path, arguments="max_model_len = 4096", model="llama-3.1-8b"), str(path))
