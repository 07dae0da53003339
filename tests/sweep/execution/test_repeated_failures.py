"""Engines that die the same way twice: what is not tried any more, what still is, and what a resume begins with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine_probe.sweep.definition.sweep_file import Point, SweepFile, points
from engine_probe.sweep.execution.planned_point import Measurement
from engine_probe.sweep.execution.repeated_failures import EngineFailures, stripped
from engine_probe.sweep.results.point_results import FAILED, Scored, Unmeasured
from tests.support.sweeps.sweep_events import sweep_events

BEGIN = """tell('{"type":"Began","number":0}'); """
CRASH = BEGIN + "print('RuntimeError: no kernel for this processor', flush=True); sys.exit(1)"
OUT_OF_MEMORY = BEGIN + "print('RuntimeError: out of memory', flush=True); sys.exit(1)"

FAILED_TO_START = """tell('{"type":"Failed","sentence":"vLLM could not start tiny","exit_code":3}'); sys.exit(3)"""


def asked(sweep: SweepFile, repeats: int = 1, **axes: list[Any]) -> SweepFile:
    named = {name.replace("__", "."): values for name, values in axes.items()}
    return msgspec.structs.replace(sweep, axes=named, repeats=repeats, interleave=False)


def reasons(sweep: SweepFile, folder: Path) -> dict[str, str]:
    """By the label of the point, in the order in which they became rows."""
    events = sweep_events(sweep, folder)
    return {event.point.label: event.reason for event in events if isinstance(event, Unmeasured)}


def untried(found: dict[str, str]) -> list[str]:
    return [label for label, reason in found.items() if reason.startswith("not tried: ")]


def starts(folder: Path) -> int:
    return len(list(folder.glob("*.log")))


def test_an_engine_that_dies_twice_the_same_way_is_not_started_a_third_time(
    sweep: SweepFile, engine, tmp_path: Path
) -> None:
    engine(CRASH)
    found = reasons(asked(sweep, workload__concurrency=[1, 2, 4, 8, 16, 32, 64, 96]), tmp_path)
    assert starts(tmp_path) == 2
    assert untried(found) == [f"concurrency {load}" for load in (4, 8, 16, 32, 64, 96)]
    assert found["concurrency 96"] == (
        "not tried: the engine died twice the same way (the engine's process ended with exit code 1: "
        f'"RuntimeError: no kernel for this processor"; see {tmp_path}/engine-2.log)'
    )
    saved = json.loads((tmp_path / "sweep.json").read_text())["points"]
    assert [(row["status"], row["exit_code"]) for row in saved] == [(FAILED, 3)] * 8


def test_two_repeats_of_one_point_do_not_condemn_another(sweep: SweepFile, engine, tmp_path: Path) -> None:
    engine(CRASH)
    found = reasons(asked(sweep, repeats=3, workload__concurrency=[1, 2, 4]), tmp_path)
    assert starts(tmp_path) == 3
    tried = ["concurrency 1, 1 of 3", "concurrency 1, 2 of 3", "concurrency 2, 1 of 3"]
    assert [label for label in found if label not in untried(found)] == tried


def test_where_memory_ran_out_what_asks_for_less_is_still_tried(sweep: SweepFile, engine, tmp_path: Path) -> None:
    engine(OUT_OF_MEMORY)
    found = reasons(asked(sweep, workload__concurrency=[16, 32, 64, 8]), tmp_path)
    assert untried(found) == ["concurrency 64"]


def test_a_resume_begins_with_what_was_not_tried(sweep: SweepFile, engine, tmp_path: Path) -> None:
    engine(CRASH)
    grid = asked(sweep, workload__concurrency=[1, 2, 4, 8])
    first = reasons(grid, tmp_path)
    again = reasons(grid, tmp_path)
    assert untried(first) == ["concurrency 4", "concurrency 8"]
    assert untried(again) == ["concurrency 1", "concurrency 2"]


@pytest.mark.parametrize(
    ("sentence", "started"),
    [
        ("vLLM could not start tiny: no such instruction", 2),
        ("vLLM could not start tiny: heads are not divisible by %s", 4),
        ("vLLM found too little memory to start tiny: No available memory for the cache blocks", 4),
        ("vLLM could not start tiny: Engine core initialization failed. See root cause above.", 4),
    ],
)
def test_engines_that_fail_to_start_with_the_same_words_end_the_sweep(
    sweep: SweepFile, engine, tmp_path: Path, sentence: str, started: int
) -> None:
    """Unless the words name a value of this engine, memory, or another place: then the next one may start."""
    tell = """tell('{"type":"Failed","sentence":"' + said + '","exit_code":3}')"""
    engine(f"said = {sentence!r}.replace('%s', str(os.getpid())); {tell}; sys.exit(3)")
    grid = asked(sweep, engine__arguments__max_num_seqs=[1, 2, 4, 8], workload__concurrency=[1, 2])
    found = reasons(grid, tmp_path)
    assert starts(tmp_path) == started
    assert len(untried(found)) == (4 - started) * 2


@pytest.mark.parametrize("lines", ["sys.exit(5)", FAILED_TO_START], ids=["ended", "said why"])
def test_an_output_folder_may_have_a_space_in_its_name(sweep: SweepFile, engine, tmp_path: Path, lines: str) -> None:
    """Each reason ends with the path of a log, which is another one for each engine."""
    engine(lines)
    folder = tmp_path / "my runs" / "out"
    folder.mkdir(parents=True)
    found = reasons(asked(sweep, engine__arguments__max_num_seqs=[1, 2, 4, 8]), folder)
    assert starts(folder) == 2
    assert len(untried(found)) == 2


def test_only_the_log_at_the_end_of_a_reason_is_left_out() -> None:
    advice = "vLLM could not start tiny: this flag is gone; see its manual"
    assert stripped(f"{advice}; all the engine said is in /my runs/engine-2.log") == advice
    assert stripped(f'the engine\'s process ended: "{advice}"; see /my runs/engine.log') == (
        f'the engine\'s process ended: "{advice}"'
    )


def died(point: Point) -> Measurement:
    return Measurement(Unmeasured(point.key, point, FAILED, "the engine's process ended"), engine_died=True)


def measured(point: Point) -> Measurement:
    return Measurement(Scored(point.key, point, 1.0, None, 1, 1, 0, 1.0))


def test_a_measured_point_in_between_starts_the_count_again(sweep: SweepFile) -> None:
    first, second, third, last = points(asked(sweep, workload__concurrency=[1, 2, 4, 8]))
    failures = EngineFailures()
    for measurement in (died(first), measured(second), died(third)):
        failures.record(first.engines, measurement)
    assert failures.reason_not_to_try(last) is None
    failures.record(first.engines, died(second))
    assert "died twice the same way" in str(failures.reason_not_to_try(last))


def test_one_that_is_given_up_for_its_time_has_not_died(sweep: SweepFile, engine, tmp_path: Path) -> None:
    engine(BEGIN + "import time; time.sleep(60)")
    hasty = msgspec.structs.replace(asked(sweep, workload__concurrency=[1, 2, 4]), point_seconds=0.1)
    assert untried(reasons(hasty, tmp_path)) == []
    assert starts(tmp_path) == 3


def test_searches_on_an_engine_that_does_not_start_give_it_up(sweep: SweepFile, engine, tmp_path: Path) -> None:
    """Each search of a sweep starts an engine of its own."""
    engine("sys.exit(5)")
    document = msgspec.to_builtins(asked(sweep, workload__input_len=[8, 16, 32, 64]))
    document["adaptive"] = {"axis": "workload.concurrency", "from": 1, "to": 8}
    search = msgspec.convert(document, SweepFile)
    sweep_events(search, tmp_path, [])
    assert starts(tmp_path) == 2
