"""Simulated comparisons between occasions: a large change is told, and drift between sweeps is not."""

from __future__ import annotations

import numpy as np
import pytest

from tools.calibration.comparisons import broken
from tools.calibration.occasions import alarm_claims, draw_occasions, interval_claims, occasions
from tools.calibration.tally import ALL, Tally


def test_a_large_loss_without_much_noise_is_seen_by_all() -> None:
    compared = draw_occasions(np.random.default_rng(2), "shared by the occasion", -0.3, 0.01, 2)
    (whole,) = (change for change in [compared.of(compared.whole)] if change)
    assert whole.relative == pytest.approx(-0.3, abs=0.03)
    assert len(whole.old) == len(whole.new) == 3
    assert whole.verdict == "worse"
    alone = [change.interval for point in compared.points if (change := compared.of(point))]
    assert all(interval is not None and interval[1] < 0 for interval in alone)
    assert broken("-5%", [whole])
    assert not broken("-50%", [whole])


@pytest.mark.lengthy
def test_occasions_that_differ_make_no_change() -> None:
    """What one sweep a side tells in most cases under such noise."""
    tally = Tally()
    for number in range(40):
        compared = draw_occasions(np.random.default_rng([5, number]), "shared by the occasion", 0.0, 0.05, 3)
        tally.add_cluster("shared", [*alarm_claims(compared), *interval_claims(compared)])
    for topic in ("A/A: a single change told", "A/A: any figure of all points together told"):
        assert tally[f"3 a side: {topic}", "shared", ALL].share <= 0.07, topic
    assert tally["3 a side: interval of the change of all points together", "shared", ALL].share >= 0.9


def test_its_turns_claim_what_they_are_for() -> None:
    claims = {claim.topic for index in (0, 7, 14) for claim in occasions(np.random.default_rng(index), index)[1]}
    assert len(claims) == 16
