"""The timing loop, with the test's clock, so that every figure is an equality."""

from __future__ import annotations

import pytest

from kernels_bench.timing.measure import Effort, OutOfTimeError, Work, agree, centre, latency, measure, rate
from tests.support.devices.fake_bench import FakeClock

EFFORT = Effort(round_s=10_000e-9, rounds_at_most=6, warm_up_at_most_s=100_000e-9, tolerance=0.01)
BIG = 1 << 30  # bytes touched that no cache of the fake holds


def nothing() -> None:
    pass


def test_a_steady_device_is_measured_in_three_rounds() -> None:
    clock = FakeClock(lambda sample: 1000.0)
    found = measure(Work((nothing,), BIG), clock, EFFORT)
    assert found.stable
    assert found.settled
    assert [len(times) for times in found.rounds_ns] == [10, 10, 10]  # a round is 10 µs, a call 1 µs
    assert (found.median_ns, found.iqr_ns) == (1000.0, 0.0)


def test_a_climbing_clock_is_waited_for() -> None:
    """The first 30 calls each take a little less, then the device rests: none of those is in the figure."""
    clock = FakeClock(lambda sample: 1000.0 + 100 * max(0, 30 - sample))
    found = measure(Work((nothing,), BIG), clock, EFFORT)
    assert found.settled
    assert found.warm_up_calls > 20
    assert found.median_ns == 1000.0


def test_equal_times_do_not_settle_while_the_frequency_climbs() -> None:
    clock = FakeClock(lambda sample: 1000.0, frequency=lambda sample: min(1980, 300 + 50 * sample))
    steady = FakeClock(lambda sample: 1000.0, frequency=lambda sample: 1980)
    climbing_warm_up = measure(Work((nothing,), BIG), clock, EFFORT).warm_up_calls
    assert climbing_warm_up > measure(Work((nothing,), BIG), steady, EFFORT).warm_up_calls


def test_a_device_that_never_rests_is_unstable_and_says_so() -> None:
    clock = FakeClock(lambda sample: 1000.0 + 10 * sample)
    found = measure(Work((nothing,), BIG), clock, EFFORT)
    assert not found.settled
    assert not found.stable
    assert len(found.rounds_ns) == EFFORT.rounds_at_most


def test_a_machine_that_has_become_slow_is_given_up_in_time() -> None:
    clock = FakeClock(lambda sample: 1000.0 if sample < 10 else 1e6 + 1e5 * sample)
    hurried = Effort(round_s=10e-6, rounds_at_most=100, warm_up_at_most_s=0, tolerance=0.01, at_most_s=0.05)
    found = measure(Work((nothing,), BIG), clock, hurried)
    assert not found.stable
    assert sum(map(sum, found.rounds_ns)) < 0.1e9  # 0.05 s, and the round in which they were over


def test_a_time_budget_ends_the_rounds_and_the_figure_says_so() -> None:
    """Four calls to look, three to warm up; 30 µs then suffice for two rounds of ten."""
    found = measure(Work((nothing,), BIG), FakeClock(lambda sample: 1000.0), EFFORT, until_ns=30e3)
    assert (len(found.rounds_ns), found.shortened, found.stable) == (2, True, False)
    assert found.median_ns == 1000.0


def test_a_figure_that_cannot_be_finished_is_not_begun() -> None:
    clock = FakeClock(lambda sample: 1000.0)
    with pytest.raises(OutOfTimeError):
        measure(Work((nothing,), BIG), clock, EFFORT, until_ns=9e3)
    assert clock.samples == 4  # to learn what a call takes


def test_a_time_budget_that_suffices_changes_nothing() -> None:
    runs = [measure(Work((nothing,), BIG), FakeClock(lambda sample: 1000.0), EFFORT, until) for until in (1e9, 1e18)]
    assert runs[0] == runs[1]
    assert not runs[0].shortened


def test_an_outlier_in_a_round_moves_neither_median_nor_verdict() -> None:
    clock = FakeClock(lambda sample: 1e6 if sample % 10 == 0 else 1000.0)
    found = measure(Work((nothing,), BIG), clock, Effort(1e-2, 6, 1e-3, 0.01))
    assert found.stable
    assert found.median_ns == 1000.0
    assert any(1e6 in times for times in found.rounds_ns)  # and it is kept


def test_only_the_rounds_that_agree_make_the_figure() -> None:
    clock = FakeClock(lambda sample: 1000.0 if sample < 100 else 500.0)
    found = measure(
        Work((nothing,), BIG), clock, Effort(round_s=50e-6, rounds_at_most=9, warm_up_at_most_s=0, tolerance=0.01)
    )
    assert found.stable
    assert found.rounds_ns[0][0] == 1000.0
    assert found.median_ns == 500.0


def test_small_data_is_flushed_out_of_the_cache_before_every_sample() -> None:
    clock = FakeClock(lambda sample: 10.0, cache_bytes=1000)
    measure(Work((nothing,), touched_bytes=3999), clock, EFFORT)
    assert clock.flushes == clock.samples
    assert not clock.bundles  # a flush in between forbids it


def test_data_of_four_caches_needs_no_flush() -> None:
    clock = FakeClock(lambda sample: 1000.0, cache_bytes=1000)
    measure(Work((nothing,), touched_bytes=4000), clock, EFFORT)
    assert clock.flushes == 0


def test_a_clock_that_pauses_flushes_before_long_calls_and_never_between_short_ones() -> None:
    """As triton's do_bench does; what is bundled has no room for it, and what need not be cold no use."""
    long, short, warm = (
        FakeClock(lambda sample: 1000.0),
        FakeClock(lambda sample: 10.0),
        FakeClock(lambda sample: 1e3),
    )
    for clock in (long, short, warm):
        clock.pauses = True
    measure(Work((nothing,), BIG), long, EFFORT)
    measure(Work((nothing,), BIG), short, EFFORT)
    measure(Work((nothing,), BIG, cold=False), warm, EFFORT)
    assert long.flushes >= 3 * 9
    assert short.bundles
    assert (short.flushes, warm.flushes) == (0, 0)


def test_short_calls_are_timed_many_at_a_time_and_told_one_by_one() -> None:
    clock = FakeClock(lambda sample: 10.0)
    calls: list[str] = []
    work = Work((lambda: calls.append("one"), lambda: calls.append("other")), BIG)
    found = measure(work, clock, EFFORT)
    assert clock.bundles == [100]  # ten times the shortest time that is measured alone
    assert found.calls_per_sample == 100
    assert found.median_ns == 10.0
    assert abs(calls.count("one") - calls.count("other")) <= 1


def test_a_call_that_may_not_be_captured_is_timed_alone() -> None:
    clock = FakeClock(lambda sample: 10.0)
    measure(Work((nothing,), BIG, graph=False), clock, EFFORT)
    assert not clock.bundles


def test_rounds_agree_when_the_last_three_medians_do() -> None:
    assert not agree([[1.0], [1.0]], 0.01)
    assert agree([[9.0], [1.0], [1.005], [1.0]], 0.01)
    assert not agree([[1.0], [1.0], [1.02]], 0.01)


def test_centre_is_the_median_and_the_distance_between_the_quartiles() -> None:
    assert centre([[1.0, 2.0, 3.0], [4.0, 5.0]]) == (3.0, 2.0)


def test_a_rate_is_work_over_the_median_and_a_latency_the_median_itself() -> None:
    found = measure(Work((nothing,), BIG), FakeClock(lambda sample: 2000.0), EFFORT)
    assert rate("memory", "copy", "B/s", 8000, found).value == pytest.approx(4e9)
    assert latency("launch", "operator", found).value == 2000.0
