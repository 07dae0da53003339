"""What is left of a sweep is guessed from what it measured; where nothing was measured nothing is guessed."""

from __future__ import annotations

import msgspec
import pytest

from engine_probe.sweep.definition.sweep_file import EngineSection, Point
from engine_probe.sweep.definition.workload_section import WorkloadSection
from engine_probe.sweep.progress.time_left import Remaining, about
from engine_probe.sweep.results.point_results import PointResult, Unmeasured
from engine_probe.workload.stop import Stop
from tests.support.recordings.point_results import result


def point(at_once: int, repeat: int = 0, model: str = "tiny", requests: int | None = None) -> Point:
    return Point(EngineSection(model), WorkloadSection(32, 100, at_once, requests), repeat)


def measured(one: Point, seconds: float) -> PointResult:
    rate = tokens(one) / seconds
    return result(one.workload.max_in_flight, rate, id=one.key, point=one, seconds=seconds, output_tokens=tokens(one))


def tokens(one: Point) -> int:
    return one.workload.output_tokens or 0


def heard(todo: list[Point], done: list[tuple[Point, float]], start_seconds: float = 0.0) -> Remaining:
    """After an engine that took so long to start, and these points with their seconds."""
    found, now = Remaining(todo), 0.0
    found.starting(now)
    now += start_seconds
    for one, seconds in done:
        found.began(one, now)
        now += seconds
        found.ended(measured(one, seconds))
    return found


def test_nothing_is_said_before_a_point_is_measured() -> None:
    todo = [point(1), point(2)]
    assert Remaining(todo).seconds(0) is None
    found = Remaining(todo)
    found.ended(Unmeasured(todo[0].key, todo[0], "failed", "it broke"))
    assert found.seconds(1) is None
    assert found.words(1) == ""


def test_a_search_says_nothing_for_nobody_knows_its_points() -> None:
    assert heard([], [(point(1), 5.0)]).seconds(9) is None


def test_a_repeat_takes_as_long_as_the_first_time() -> None:
    todo = [point(1), point(8), point(1, repeat=1), point(8, repeat=1)]
    assert heard(todo, [(todo[0], 40.0), (todo[1], 7.0)]).seconds(99) == 47


def test_another_load_goes_at_the_rate_of_the_nearest_one() -> None:
    todo = [point(1), point(8), point(16)]
    # concurrency 8: 800 tokens in 4 s; concurrency 16 are 1600 tokens.
    assert heard(todo, [(todo[0], 40.0), (todo[1], 4.0)]).seconds(99) == 8


def test_what_was_broken_off_counts_with_the_tokens_it_got() -> None:
    """Ended by 4 of its 80 answers: 400 tokens in 2 s, so that the other level takes 4 s for its 8."""
    short = [msgspec.structs.replace(point(8, requests=80), stop=Stop(requests=4))]
    short.append(msgspec.structs.replace(point(16, requests=80), stop=Stop(requests=8)))
    found = Remaining(short)
    found.began(short[0], 0.0)
    found.ended(msgspec.structs.replace(measured(short[0], 2.0), output_tokens=400))
    assert found.seconds(2.0) == 4


def test_the_point_under_way_counts_down_and_no_further_than_to_its_end() -> None:
    todo = [point(8), point(8, repeat=1), point(8, repeat=2)]
    found = heard(todo, [(todo[0], 10.0)])
    found.began(todo[1], 100.0)
    assert [found.seconds(now) for now in (100.0, 104.0, 199.0)] == [20, 16, 10]


def test_engines_to_come_start_as_slowly_as_the_first() -> None:
    todo = [point(8), point(8, model="smollm2"), point(8, model="other")]
    assert heard(todo, [(todo[0], 10.0)], start_seconds=6.0).seconds(16) == 10 + 10 + 6 + 6


@pytest.mark.parametrize(
    ("seconds", "words"), [(89.4, "about 89 s left"), (90, "about 2 min left"), (5400, "about 1.5 h left")]
)
def test_it_is_said_roughly(seconds: float, words: str) -> None:
    assert about(seconds) == words
