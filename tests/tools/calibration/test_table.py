"""The table tells an honest claimant from one that is not, and few cases from many."""

from __future__ import annotations

import numpy as np
import pytest

from tools.calibration.claims import FALSE_ALARMS, TOPICS, Claim
from tools.calibration.document import section, written
from tools.calibration.table import summary, tables, verdict
from tools.calibration.tally import ALL, Count, Tally, bin_of

SURE = "region B+, p % sure"
ALARM = "told apart from the best level, where it is none the worse"
COST = "operating where growth is said to end costs over 5 %"
COVERAGE = "interval of a level"


def claimant(off: float, cases: int = 4000) -> Tally:
    """Return the tally of one who says p where the truth is p less `off`."""
    rng, tally = np.random.default_rng(2), Tally()
    for _ in range(cases):
        stated = float(rng.uniform(0.55, 0.94))
        tally.add_cluster("independent", [Claim(SURE, bool(rng.random() < stated - off), stated)])
    return tally


def judged(topic: str, happened: int, said: int) -> str:
    tally = Tally()
    for number in range(said):
        tally.add_cluster("independent", [Claim(topic, number < happened)])
    return verdict(TOPICS[topic], tally[topic, "independent", ALL])


def test_who_says_what_is_true_holds_and_who_is_ten_points_off_fails() -> None:
    for off, expected in ((0.0, "holds"), (0.1, "FAILS"), (-0.1, "FAILS")):
        tally = claimant(off)
        assert verdict(TOPICS[SURE], tally[SURE, "independent", ALL]) == expected
        lines = "\n".join(tables(tally))
        assert f"| {expected} |" in lines
        assert ("**" in lines) == (expected == "FAILS")


def test_what_fails_is_named_first() -> None:
    honest, boaster = (list(summary(claimant(off))) for off in (0.0, 0.1))
    assert honest[0] == "1 holds, 0 open, 0 FAILS of 1 claims with a bound."
    assert honest[1].endswith("none fail.")
    assert boaster[0].startswith("0 holds, 0 open, 1 FAILS")
    assert boaster[1].startswith("Of 7 figures")  # over all noise, under one kind, in five ranges
    assert f"FAILS: {SURE} (over all noise)" in boaster[3]
    assert any("stated 70-80 %" in line for line in boaster)


def test_a_probability_that_is_right_on_the_whole_is_looked_at_in_each_range() -> None:
    tally = Tally()
    for number in range(4000):  # 65 % where it says 55 and where it says 75
        stated = 0.55 if number % 2 else 0.75
        tally.add_cluster("independent", [Claim(SURE, number // 2 % 20 < 13, stated)])
    counts = [tally[SURE, "independent", name] for name in (ALL, "50-60", "70-80")]
    assert [verdict(TOPICS[SURE], count) for count in counts] == ["holds", "FAILS", "FAILS"]


def test_a_false_alarm_may_come_in_seven_of_a_hundred() -> None:
    assert FALSE_ALARMS == 0.07
    assert judged(ALARM, 50, 1000) == "holds"
    assert judged(ALARM, 100, 1000) == "FAILS"
    assert judged(ALARM, 1, 20) == "open"


def test_a_cost_must_be_rare_and_an_interval_may_be_too_wide() -> None:
    assert judged(COST, 20, 1000) == "holds"
    assert judged(COST, 310, 1000) == "FAILS"
    assert judged(COVERAGE, 1000, 1000) == "holds"
    assert judged(COVERAGE, 850, 1000) == "FAILS"


def test_claims_of_one_sweep_count_as_few_as_they_are() -> None:
    alone, together = Tally(), Tally()
    for number in range(400):
        happened = number % 4 == 0
        alone.add_cluster("independent", [Claim(ALARM, happened)])
        together.add_cluster("independent", [Claim(ALARM, happened)] * 10)
    (one,), (ten,) = alone.values(), together.values()
    assert one.share == ten.share == 0.25
    assert ten.said == 4000
    assert ten.interval == pytest.approx(one.interval)


def test_a_claim_that_was_not_made_is_a_chance_and_no_truth() -> None:
    tally = Tally()
    tally.add_cluster("independent", [Claim(COVERAGE, True), Claim(COVERAGE, None)])
    count = tally[COVERAGE, "independent", ALL]
    assert (count.chances, count.said, count.happened) == (2, 1, 1)


@pytest.mark.parametrize(
    ("stated", "name"), [(0.0, "0-50"), (0.5, "50-60"), (0.899, "80-90"), (0.95, "95-99"), (1.0, "99 and over")]
)
def test_a_probability_lies_in_one_bin(stated: float, name: str) -> None:
    assert bin_of(stated) == name


def test_wilsons_interval() -> None:
    count = Count(said=10, happened=1, clusters=10, said_squares=10, happened_squares=1, products=1)
    assert count.interval == pytest.approx((0.0179, 0.4042), abs=1e-4)
    assert Count().interval == (0.0, 1.0)


def test_a_section_is_replaced_and_the_others_are_kept() -> None:
    first = written("", "before", section("before", "abc", "make", ["", "### Curves", "10.1%"]))
    second = written(first, "latest", section("latest", "def", "make", ["20.2%"]))
    assert second.index("20.2%") < second.index("10.1%")
    third = written(second, "before", section("before", "ghi", "make", ["30.3%"]))
    assert "10.1%" in first
    assert "10.1%" in second
    assert "10.1%" not in third
    assert [third.count(word) for word in ("30.3%", "20.2%", "# How often conclusions are true")] == [1, 1, 1]
    assert third.index("30.3%") < third.index("20.2%")  # what was written last comes first
