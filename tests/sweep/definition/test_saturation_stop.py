"""Going up an axis ends where it no longer pays, and what was measured before decides the same again."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine_probe.errors import InputError
from engine_probe.sweep.definition.loader import read_sweep
from engine_probe.sweep.definition.saturation_stop import Reached, Saturated, saturated_at
from engine_probe.sweep.definition.sweep_file import Point, SweepFile, points
from engine_probe.sweep.execution.skip_saturated import SkipSaturated
from engine_probe.sweep.results.point_results import Row, Unmeasured
from tests.support.recordings.point_results import result

BASE = """
question = "?"
[engine]
model = "tiny"
[workload]
input_len = 32
output_len = 32
"""
AXES = '[axes]\n"workload.concurrency" = [1, 2, 4, 8, 16, 32]\n'


def levels(*rates: float, recomputed: float = 0.0) -> dict[float, list[Reached]]:
    return {2.0**number: [Reached(rate, recomputed)] for number, rate in enumerate(rates)}


@pytest.mark.parametrize(
    ("rates", "end"),
    [
        ((10, 20, 40), None),
        ((10, 20, 20), None),  # one further level may be chance
        ((10, 20, 20, 20), 2),
        ((10, 20, 20, 30, 30), None),
        ((10, 20, 20.3, 20.5), None),  # slowly, but by more than 2 % from the best
        ((10, 20, 20.2, 20.3), 2),
        ((10, 20, 18, 12), 2),
    ],
)
def test_two_levels_without_growth_end_it(rates: tuple[float, ...], end: float | None) -> None:
    assert saturated_at(Saturated(), levels(*rates)) == end


def test_one_is_enough_where_it_recomputes_much() -> None:
    falling = levels(10, 20) | {4.0: [Reached(19, 0.2)]}
    assert saturated_at(Saturated(), falling) == 2
    rising = levels(10, 20) | {4.0: [Reached(25, 0.2)]}
    assert saturated_at(Saturated(), rising) is None


def test_repeats_are_one_level() -> None:
    found = {1.0: [Reached(10, 0)], 2.0: [Reached(20, 0)], 4.0: [Reached(12, 0), Reached(30, 0)]}
    assert saturated_at(Saturated(levels=1), found) is None


@pytest.fixture
def sweep(tmp_path: Path) -> Any:
    def read(more: str, *settings: str) -> SweepFile:
        path = tmp_path / "mine.toml"
        path.write_text(BASE + more)
        return read_sweep(str(path), settings)

    return read


def measured(todo: list[Point], rate: dict[int, float]) -> dict[int, Row]:
    """The row of every point that is asked for, in order."""
    rows: dict[int, Row] = {}
    skip = SkipSaturated(Saturated())
    for number, point in enumerate(todo):
        if reason := skip.reason_to_skip(point):
            rows[number] = Unmeasured(point.key, point, "skipped", reason)
        else:
            rows[number] = result(point.workload.max_in_flight, rate[point.workload.max_in_flight], point=point)
        skip.record(rows[number])
    return rows


RATES = {1: 10.0, 2: 20.0, 4: 21.0, 8: 21.0, 16: 21.0, 32: 21.0}


def test_the_rest_of_the_axis_is_skipped_and_says_why(sweep: Any) -> None:
    rows = measured(points(sweep(AXES)), RATES)
    assert [row.status for row in rows.values()] == ["complete"] * 5 + ["skipped"]
    assert isinstance(rows[5], Unmeasured)
    assert rows[5].reason == "skipped: saturated at concurrency 4 (stop.saturated)"


@pytest.mark.parametrize("interleave", ["true", "false"])
def test_each_curve_ends_for_itself_and_all_repeats_of_a_level_are_measured(sweep: Any, interleave: str) -> None:
    todo = points(sweep(AXES + '"workload.output_len" = [8, 16]\n', "repeats=2", f"interleave={interleave}"))
    rows = measured(todo, RATES)
    skipped = {rows[number].point.label for number in rows if rows[number].status == "skipped"}
    assert skipped == {f"concurrency 32, output_len {length}, {repeat} of 2" for length in (8, 16) for repeat in (1, 2)}


def test_a_level_that_the_first_round_measured_is_measured_by_every_round(sweep: Any) -> None:
    todo = points(sweep(AXES, "repeats=2"))
    skip = SkipSaturated(Saturated(levels=1))
    for point, rate in zip(todo[:4], (10.0, 20.0, 21.0, 21.0), strict=True):  # growth of 5 % at 4, none at 8
        skip.record(result(point.load, rate, point=point))
    skip.record(result(4, 19.0, point=todo[8]))  # on average there was none at 4 either
    assert [skip.reason_to_skip(todo[at]) is None for at in (4, 9, 10)] == [False, True, False]  # 16, 8 again, 16 again


def test_one_that_goes_on_skips_the_same(sweep: Any) -> None:
    todo = points(sweep(AXES))
    whole = measured(todo, RATES)
    skip, skip_nothing = SkipSaturated(Saturated()), SkipSaturated(None)
    for row in whole.values():
        skip.record(row)
        skip_nothing.record(row)
    last = whole[5]
    assert isinstance(last, Unmeasured)
    assert skip.reason_to_skip(todo[5]) == last.reason
    assert skip_nothing.reason_to_skip(todo[5]) is None


def test_where_it_is_steady_that_part_decides() -> None:
    row = result(4, 80)
    steady = {"from_ns": 0, "to_ns": 9, "output_tokens_per_s": 100.0, "half_width": 1.0}
    driven = {
        "why": "steady", "started_ns": 0, "ended_ns": 10, "process": [1, 1], "steps": 1, "handed_over": 1, "aborted": 0,
        "never_handed_over": 0, "late_ns": None, "answered_tokens": None,
        "steady": {"reached": True, "within": 0.05, "rate": steady},
    }  # fmt: skip
    row = msgspec.convert(msgspec.to_builtins(row) | {"driven": driven}, type(row))
    assert row.reached.output_tokens_per_s == 100
    assert result(4, 80).reached.output_tokens_per_s == 80


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (
            AXES + '[stop.saturated]\naxis = "workload.concurency"\n',
            "not a load axis of this sweep: did you mean workload.con",
        ),
        (
            '[axes]\n"workload.sampling.stream" = [false, true]\n[stop.saturated]\naxis = "workload.sampling.stream"\n',
            "the values of workload.sampling.stream are not numbers",
        ),
        (AXES + "[stop.saturated]\nlevel = 2\n", "stop.saturated.level is not known: did you mean levels?"),
        ('[axes]\n"workload.concurrency" = [4, 1]\n[stop.saturated]\n', "ascending order, not [4, 1]"),
        (AXES + '[stop.saturated]\n[adaptive]\naxis = "workload.num_prompts"\nfrom = 1\nto = 2\n', "is for grids"),
        ("interleave = true\n", "workload.interleave is not known"),
        ("[stop]\nsecond = 2\n", "stop.second is not known: did you mean seconds?"),
        ("[stop]\nseconds = 0\n", "stop.seconds is 0, expected a number > 0.0"),
        ("[stop]\nrequests = 5\n", "stop.requests is 5, and there are no more than 1: set workload.num_prompts higher"),
        ("[stop.steady]\nwithin = 0.05\n", "stop.steady: 1 concurrent requests are a burst"),
        ("[stop.steady]\nafter_second = 5\n", "after_second is not known: did you mean after_seconds?"),
        ("[warm_up]\nsecs = 5\n", "warm_up.secs is not known: did you mean seconds?"),
        ("[warm_up]\nseconds = 5\nnone = true\n", "none = true contradicts requests and seconds"),
    ],
)
def test_what_is_wrong_is_named(sweep: Any, more: str, sentence: str) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)):
        sweep(more)


def test_conditions_and_warming_up_make_another_point_and_the_end_of_the_axis_does_not(sweep: Any) -> None:
    plain = points(sweep(AXES))[0].key
    assert points(sweep(AXES + "[stop.saturated]\n"))[0].key == plain
    assert points(sweep(AXES + "[stop]\nseconds = 9\n"))[0].key != plain
    assert points(sweep(AXES + "[warm_up]\nseconds = 9\n"))[0].key != plain
    assert points(sweep(AXES, "probe=false"))[0].key != plain


def test_all_points_come_once_and_then_again_unless_that_is_turned_off(sweep: Any) -> None:
    probe_axis = "[axes]\nprobe = [true, false]\n"
    todo = points(sweep(probe_axis, "repeats=2"))
    assert [point.label for point in todo] == [
        "probe on, 1 of 2", "probe off, 1 of 2", "probe on, 2 of 2", "probe off, 2 of 2"
    ]  # fmt: skip
    level_by_level = points(sweep(probe_axis, "repeats=2", "interleave=false"))
    assert [point.probe for point in level_by_level] == [True, True, False, False]
    assert {point.key for point in level_by_level} == {point.key for point in todo}  # so an older sweep resumes
