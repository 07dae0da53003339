"""What `predict` reads of a recording, and what it refuses; the twins themselves run in tests/vllm."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from click.testing import CliRunner

from engine_probe.analysis.compare.scheduler_decisions import same_decisions
from engine_probe.commands.sweep.predict.alternatives import alternatives, changes_of, hardware_words
from engine_probe.commands.sweep.predict.cli import command
from engine_probe.commands.sweep.predict.replayed_point import TRACE, engine_of, recorded_sweep
from engine_probe.errors import InputError
from engine_probe.recordings.run import Run, load
from engine_probe.report.renderers.markdown import markdown
from engine_probe.report.what_if_document import WhatIf, change_words, what_if_document, what_if_json
from engine_probe.sweep.definition.workload_section import WorkloadSection
from tests.support.recordings.run_folders import facts, ran, write_run, write_sweep


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return load(write_run(tmp_path / "run", ran(8)))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["max_num_seqs"], "--set max_num_seqs: give it as name=value"),
        (["max_num_seqs=4", "max_num_seqs=8"], "--set max_num_seqs is given twice, as 4 and as 8"),
        (["max_num_seqs=4", "max_num_seqs=[2, 8]"], "--set max_num_seqs is given twice, as 4 and as [2, 8]"),
        (["max_num_sqs=4"], "settings of the scheduler only: did you mean max_num_seqs?"),
        (["dtype=float16"], "settings of the scheduler only: these can be changed: max_num_seqs"),
        (["gpu_memory_utilization=0.8"], "so give it as num_gpu_blocks_override"),
        (["max_num_seqs=four"], 'max_num_seqs is "four": vLLM takes a whole number'),
        (["max_num_seqs=0"], "max_num_seqs is 0: vLLM takes 1 or more"),
        (["enable_prefix_caching=maybe"], "enable_prefix_caching is"),
        (["max_num_seqs=256"], "--set max_num_seqs=256: the run had that"),
        (["max_num_seqs=[]"], "names no value"),
        (["num_gpu_blocks_override=5"], "4 blocks of 16 tokens do not hold one request of max_model_len = 128"),
        (["max_model_len=4096"], "set num_gpu_blocks_override to at least 257, or a smaller max_model_len, too"),
        (["max_num_batched_tokens=16"], "max_num_batched_tokens = 16 is less than max_num_seqs = 256"),
        (
            ["enable_chunked_prefill=false", "max_num_batched_tokens=64", "max_num_seqs=8"],
            "max_num_batched_tokens = 64 is less than max_model_len of undivided prompts = 128",
        ),
        (["max_num_seqs=[2,4]", "max_num_batched_tokens=[64,128]"], "max_num_seqs is a list already"),
    ],
)
def test_changes_that_cannot_be_predicted_are_refused(run: Run, settings: list[str], sentence: str) -> None:
    with pytest.raises(InputError) as refused:
        alternatives(run.folder, settings, None)
    assert sentence in str(refused.value)


def test_a_list_is_one_change_for_each_value() -> None:
    found = changes_of(["max_num_seqs=[2, 4]", "engine.arguments.enable_prefix_caching=false"])
    assert list(found) == ["enable_prefix_caching=false, max_num_seqs=2", "enable_prefix_caching=false, max_num_seqs=4"]
    assert changes_of([]) == {}


def test_a_sweep_of_several_recordings_is_not_one(tmp_path: Path) -> None:
    swept = write_sweep(tmp_path / "swept", (1, 2))
    with pytest.raises(InputError, match=r"is a sweep of 2 recordings: name one of them, such as .*points"):
        alternatives(swept, [], None)


def test_predictions_are_not_predicted_from(run: Run) -> None:
    change_facts(run, predicted={"calibrated_from": "x", "step_times": {}})
    with pytest.raises(InputError, match=rf"^{run.folder} is itself predicted"):
        alternatives(run.folder, [], None)


def test_step_times_of_another_machine_are_refused(run: Run, tmp_path: Path) -> None:
    other = load(write_run(tmp_path / "other", ran(8)))
    for recording, gpu in ((run, "L4"), (other, "H100 NVL")):
        change_facts(recording, hardware={"gpus": [{"name": gpu}]})
    with pytest.raises(InputError, match=rf"--times {other.folder} has recordings of 2 machines \(H100 NVL; L4\)"):
        alternatives(run.folder, [], other.folder)


def test_other_hardware_cannot_verify() -> None:
    gpus = {"gpus": [{"name": "L4"}, {"name": "L4"}], "host": {"name": "x", "cores": 2}}
    assert hardware_words(gpus) == "2 x L4"
    assert hardware_words({"gpus": [], "host": {"name": "EPYC", "cores": 2}}) == "EPYC with 2 cores"


def test_the_engine_is_the_recorded_one(run: Run) -> None:
    model, arguments = engine_of(run.facts)
    assert model == "tiny"
    assert arguments["num_gpu_blocks_override"] == 61
    assert (arguments["max_num_seqs"], arguments["max_num_batched_tokens"]) == (256, 512)
    assert arguments["dtype"] == "bfloat16"


def test_the_engine_has_the_recorded_variables(run: Run, tmp_path: Path) -> None:
    variables = {"VLLM_BATCH_INVARIANT": "1"}
    change_facts(run, engine={**run.facts["engine"], "environment": variables})
    asked, _ = recorded_sweep(load(run.folder), tmp_path)
    assert dict(asked.engine.spec.environment) == variables


def test_a_run_with_drafts_is_predicted_with_drafts(run: Run) -> None:
    drafting = {"method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_max": 4, "prompt_lookup_min": 2}
    recorded = {**drafting, "model": None, "rejection_sample_method": "standard"}
    change_facts(run, engine={**run.facts["engine"], "arguments": {"speculative_config": recorded}})
    assert engine_of(load(run.folder).facts)[1]["speculative_config"] == drafting
    with pytest.raises(InputError, match="how many drafts the model accepts is not known"):  # it has no table of them
        alternatives(run.folder, ["max_num_seqs=4"], None)


def test_a_workload_of_this_package_is_asked_again(run: Run, tmp_path: Path) -> None:
    asked = msgspec.to_builtins(WorkloadSection(input_len=48, output_len=40, concurrency=4, num_prompts=8, seed=3))
    change_facts(run, workload={**asked, "sha256": "0", "notes": []}, stop={"requests": 5})
    sweep, not_known = recorded_sweep(load(run.folder), tmp_path)
    assert msgspec.to_builtins(sweep.workload) == asked
    assert sweep.stop.requests == 5
    assert not_known == []


def test_requests_of_a_server_are_replayed_at_their_times(run: Run, tmp_path: Path) -> None:
    """With the recorded lengths, also where a workload's answers ended by themselves."""
    ended = msgspec.to_builtins(WorkloadSection(input_len=48, output_len=90, concurrency=4))
    change_facts(run, workload={**ended, "sampling": {"ignore_eos": False}})
    sweep, _ = recorded_sweep(load(run.folder), tmp_path)
    lines = [json.loads(line) for line in (tmp_path / TRACE).read_text().splitlines()]
    arrivals = sorted(run.requests["arrival_ns"].to_pylist())
    assert [line["timestamp"] for line in lines] == [(at - arrivals[0]) / 1e6 for at in arrivals]
    assert {(line["input_length"], line["output_length"]) for line in lines} == {(48, 40)}
    assert sweep.workload.from_file


def test_what_a_replay_leaves_out_is_told(tmp_path: Path) -> None:
    tables = ran(8)
    requests = tables["requests"]
    halves = pa.array([24 * (row % 2) for row in range(requests.num_rows)], pa.int32())
    at = requests.column_names.index("cached_tokens")
    tables = {**tables, "requests": requests.set_column(at, requests.schema.field(at), halves)}
    _, not_known = recorded_sweep(load(write_run(tmp_path / "run", tables)), tmp_path)
    assert "The prefix cache had 25% of the prompt tokens." in not_known[0]


def test_decisions_are_compared_step_by_step() -> None:
    one, other = ran(8)["iterations"], ran(8, seqs=4)["iterations"]
    assert same_decisions(one, one).all
    found = same_decisions(one, other)
    assert not found.all
    assert found.same == 0
    cut = same_decisions(one, one.slice(0, 5))
    assert (cut.same, cut.all) == (5, False)


def test_the_report_sets_the_models_own_error_beside_the_change(run: Run, tmp_path: Path) -> None:
    times = {"calibrated_from": "the run", "step_times": {"error": 0.02, "recordings": 10}}
    change = load(write_run(tmp_path / "fewer", ran(8, seqs=4), facts() | {"predicted": times}))
    same = load(write_run(tmp_path / "same", ran(8), facts() | {"predicted": times}))
    found = WhatIf(run, same, {"max_num_seqs=4": change}, {"": same, "max_num_seqs=4": change})
    text = html.unescape(markdown(what_if_document(found)))
    assert "Predicted: tiny, max_num_seqs=4" in text
    assert "decides the same as in the run in all" in text
    assert "+0.0%: the model's own error" in text
    assert "unchanged, measured" in text
    assert "max_num_seqs=4, measured" in text
    told = re.search(r"Measured with max_num_seqs=4: .*, (.*) against the same .*, where (.*) was predicted", text)
    assert told
    assert told[1] == told[2]  # both sides are the same runs
    nothing = markdown(what_if_document(WhatIf(run, same, {"max_num_seqs=99": same}, {})))
    assert "nothing changes: the scheduler decides the same in every step" in nothing
    written = what_if_json(found)
    assert written["predicted"] is True
    assert written["changed"]["max_num_seqs=4"]["peak_running"] == 4
    assert list(written["measured"]) == ["unchanged", "max_num_seqs=4"]
    assert written["same_decisions"]["steps"] == written["same_decisions"]["recorded"]
    low, high = written["unchanged"]["intervals_90"]["ttft_p50_ms"]
    middle = written["unchanged"]["ttft_p50_ms"]
    assert low < middle < high
    assert f" ± {high / middle - 1:.0%}" in text
    assert "intervals_90" not in written["recorded"]


def test_changes_are_told_in_per_cent_or_as_a_factor() -> None:
    assert change_words(100, 93) == "-7.0%"
    assert change_words(100, 1250) == "12.5 times"
    assert change_words(0, 5) == "-"


def test_a_folder_that_is_not_there_is_one_sentence() -> None:
    done = CliRunner().invoke(command, ["nowhere"], standalone_mode=False)
    assert isinstance(done.exception, InputError)
    assert "nowhere: there is no such folder" in str(done.exception)


def change_facts(run: Run, **more: Any) -> None:
    path = run.folder / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | more))
