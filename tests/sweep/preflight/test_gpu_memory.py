"""A dry run shows the memory of each engine on a GPU that is here or only named; a run refuses what cannot start."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from rich.console import Console

from engine_probe.commands.sweep.cli import command
from engine_probe.engine.build import model_geometry
from engine_probe.engine.models.embedded import EMBEDDED
from engine_probe.engine.models.geometry import GIB
from engine_probe.errors import InputError
from engine_probe.sweep.definition.loader import read_sweep, shipped_names
from engine_probe.sweep.definition.sweep_file import EngineSection, Point, apart, points
from engine_probe.sweep.definition.workload_section import WorkloadSection
from engine_probe.sweep.preflight.dry_run import show_points
from engine_probe.sweep.preflight.gpu_memory import check_memory, engine_names, memories, named_gpu, smallest_gpu
from engine_probe.sweep.preflight.target import Target
from engine_probe.sweep.suite.forecast import forecast
from tests.support.recordings.hardware_reports import box


def card(gib: float) -> dict[str, Any]:
    return {"name": "a card", "uuid": "GPU-a", "memory_bytes": int(gib * GIB)}


def asked(**arguments: Any) -> Point:
    return Point(EngineSection("llama-3.1-8b", arguments), WorkloadSection(128, 128, 1), label="one")


@pytest.mark.parametrize(
    ("arguments", "gib", "sentence"),
    [
        ({}, 14, "one: llama-3.1-8b cannot start: the weights take 15.0 GiB of each GPU and vLLM gets 12.9 GiB"),
        ({"data_parallel_size": 2}, 14, "the weights take 15.0 GiB"),
        ({"gpu_memory_utilization": 0.5}, 24, "vLLM gets 12.0 GiB (0.5 of 24.0, a card)"),
        ({}, 24, "16.0 for the KV cache of one request of 131,072 tokens: lower max_model_len"),
        ({"max_model_len": 131072, "kv_cache_dtype": "fp8"}, 22, "8.0 for the KV cache of one request of 131,072"),
        ({"dtype": "float32"}, 24, "the weights take 29.9 GiB"),
    ],
)
def test_what_a_card_cannot_hold_is_refused(arguments: dict[str, Any], gib: float, sentence: str) -> None:
    with pytest.raises(InputError) as refused:
        check_memory(smallest_gpu([card(80), card(gib)]), [asked(**arguments)])
    assert sentence in str(refused.value)


def test_what_two_cards_hold_together_is_not_refused_and_without_a_card_nothing_is() -> None:
    halved = asked(max_model_len=65536, tensor_parallel_size=2)
    check_memory(smallest_gpu([card(24), card(24)]), [halved])
    check_memory(smallest_gpu([]), [asked()])


@pytest.mark.parametrize("arguments", [{"num_gpu_blocks_override": 9, "block_size": 16}, {"kv_cache_memory_bytes": 1}])
def test_a_pool_that_is_given_is_shown_and_not_judged(arguments: dict[str, Any]) -> None:
    point = asked(**arguments)
    check_memory(smallest_gpu([card(17)]), [point])
    found = memories(smallest_gpu([card(17)]), [point])[point.engine.spec]
    assert found.pool_tokens == (128 if "block_size" in arguments else 0)


def test_a_changed_shape_is_not_judged() -> None:
    assert memories(smallest_gpu([card(14)]), [asked(hf_overrides={})]) == {}


def test_a_dry_run_for_a_named_gpu_predicts_pools_and_times_and_names_what_finds_no_room() -> None:
    levels = "workload.concurrency=[1, 250]"
    words = ["tensor_parallel", "--dry-run", "--set", levels, "--device"]
    outcome = CliRunner().invoke(command, [*words, "H100 80GB HBM3"])
    assert outcome.stdout.count("cannot run") == 2
    assert outcome.stdout.count("≥ ") == 2
    assert outcome.exit_code == 0  # two GPUs hold it
    (row,) = (line.split() for line in outcome.stdout.splitlines() if line.startswith("tensor_parallel_size 1  "))
    assert row[2:] == ["71.2", "67.7", "~7.4", "none", "~0", "0.2"]
    assert "llama-3.1-70b-fp8 cannot start: weights of 67.7 GiB leave 3.5 of 71.2" in outcome.stdout
    alone = CliRunner().invoke(
        command, [*words, "H100 80GB HBM3", "--set", "engine.arguments.tensor_parallel_size=[1]"]
    )
    assert isinstance(alone.exception, InputError)
    assert "llama-3.1-70b-fp8 cannot start: weights of 67.7 GiB leave 3.5 of 71.2" in str(alone.exception)
    held = CliRunner().invoke(command, [*words, "h100 nvl"])
    assert held.exit_code == 0
    assert "cannot" not in held.stdout
    assert "by the datasheet of H100 NVL" in held.stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ["--dry-run", "--device", "H100 NVX"],
            'the memory of a GPU "H100 NVX" is not known here: did',
        ),
        (["--dry-run", "--device", "abacus"], "is not known here: known are A100"),
        (["--device", "L4"], "--device L4 is for --dry-run"),
        (["--dry-run", "--device", "L4", "--like", "."], "leave --like out"),
        (["--dry-run", "--device", "L4", "--ray", "auto"], "leave --ray out"),
    ],
)
def test_a_device_that_cannot_be_is_one_sentence(options: list[str], words: str) -> None:
    outcome = CliRunner().invoke(command, ["smoke", *options])
    assert isinstance(outcome.exception, InputError)
    assert words in str(outcome.exception)


def test_a_suite_names_the_sweep_that_cannot_start() -> None:
    ranks = "engine.arguments.tensor_parallel_size=[1]"
    sweep = read_sweep("tensor_parallel", ["workload.concurrency=[1]", ranks])
    small, large = (Target(smallest_gpu([card(gib)])) for gib in (79.1, 93.6))
    assert "cannot start: weights of 67.7 GiB leave 3.5 of 71.2 GiB" in forecast(sweep, small).against
    assert forecast(sweep, large).against == ""


def test_engines_are_named_by_what_differs() -> None:
    specs = [asked(dtype=dtype, max_model_len=512).engine.spec for dtype in ("float16", "bfloat16")]
    assert engine_names(specs) == ["dtype float16", "dtype bfloat16"]
    assert engine_names(specs[:1]) == ["llama-3.1-8b"]


@pytest.mark.lengthy
@pytest.mark.parametrize("name", shipped_names())
def test_every_shipped_sweep_of_a_known_model_has_memory_on_a_named_gpu(name: str) -> None:
    console, sweep = Console(width=80, file=StringIO(), record=True), read_sweep(name)
    show_points(sweep, Target(named_gpu("H200")), console)
    text = console.export_text()
    known = any(model_geometry(point.engine.model) is not None for point in apart(points(sweep)))
    assert ("Memory of one H200 of 139.8 GiB" in text) == known
    if name.startswith(("concurrency", "tensor_parallel")):
        assert "≥ " in text
        assert "%" in text


@pytest.mark.lengthy
@pytest.mark.parametrize("name", shipped_names())
def test_every_shipped_sweep_has_memory_and_a_time_or_a_command_that_tells_on_a_machine_without_gpus(name: str) -> None:
    sweep, console = read_sweep(name), Console(width=80, file=StringIO(), record=True)
    show_points(sweep, Target(hardware={"gpus": [], "host": {"memory_bytes": 4096 * GIB}}), console)
    text = console.export_text()
    embedded = {point.engine.model for point in apart(points(sweep))} & set(EMBEDDED)
    if embedded:
        assert "KV pool," in text  # the column of its tokens
    timed = "≥ " in text
    assert timed or "how fast this machine runs" in text or "is not here" in text or "No time" in text


def test_a_report_of_measured_kernels_is_a_gpu(tmp_path: Path) -> None:
    path = tmp_path / "kernels.json"
    path.write_bytes(msgspec.json.encode(box()))
    gpu = named_gpu(str(path))
    assert gpu.name == "NVIDIA H200 (measured)"
    assert gpu.memory_bytes == 141 << 30
    assert gpu.speed is not None
    assert gpu.speed.bytes_per_second == pytest.approx(4.3e12)
    assert gpu.speed.multiplies == {"bfloat16": pytest.approx(8e14)}
    assert gpu.link_bytes_per_second == pytest.approx(3.2e11)  # the slowest of its links
    assert str(path) in gpu.doubts[0]


def test_a_report_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--device .*missing.json cannot be read"):
        named_gpu(str(tmp_path / "missing.json"))


@pytest.mark.parametrize(("name", "link"), [("H200", 450e9), ("L40S", 31.5e9), ("H100 NVL", 300e9)])
def test_gpus_send_each_other_what_one_direction_of_their_link_takes(name: str, link: float) -> None:
    assert named_gpu(name).link_bytes_per_second == pytest.approx(link, rel=0.01)
