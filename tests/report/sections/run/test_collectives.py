"""The section of waiting inside collectives: each rank's parts add up, and a straggler is named if it matters."""

from __future__ import annotations

import pytest

from engine_probe.analysis.step.collectives import CollectiveWaits, RankWait
from engine_probe.report.sections.run.collectives import collectives_section
from tests.support.values import has_values

MS = 1e6


def waits(waiting: float, late: bool = True) -> CollectiveWaits:
    fast = RankWait(0, 10 * MS, 1 * MS, waiting * MS, 0.0)
    return CollectiveWaits((fast, RankWait(1, 10 * MS, 1 * MS, 0.0, waiting * MS, late)), 40, 5.0, "host")


def test_the_straggler_is_named_with_what_the_others_waited() -> None:
    section = collectives_section(waits(3), {})
    assert has_values(section.sentences[0].text, "15.0%", "10.0%", "75.0%", "40", "5")
    assert section.sentences[1].tone == "caution"
    assert has_values(section.sentences[1].text, "1", "100%", "50%", "0", "3.00", "10.0")
    fast, slow = section.bars[0].bars
    assert [part.name for part in slow.parts] == ["work", "communication"]
    assert sum(part.share for part in fast.parts) == pytest.approx(1)


def test_a_rank_that_is_not_surely_late_is_no_straggler() -> None:
    text = collectives_section(waits(3, late=False), {}).sentences[1].text
    assert text.startswith("No rank")
    assert has_values(text, "100%", "1", "50%", "0", "3.00", "10.0")


def test_what_noting_the_times_took_is_told() -> None:
    ranks = [
        {"rank": rank, "collectives": 40, "collectives_probe_ns": 40 * ns} for rank, ns in ((0, 2_000), (1, 5_000))
    ]
    seen = {"workers": {"ranks": ranks}}
    cost = collectives_section(waits(3), seen).sentences[-1].text
    assert has_values(cost, "1", "5.00", "0.05%")
    assert "at least" in cost
    measured = {**seen, "hardware": {"probe_collective_ns": 1_600.0}}  # each, and a forward has five
    cost = collectives_section(waits(3), measured).sentences[-1].text
    assert has_values(cost, "8.00", "0.08%", "1.60")
    assert "at least" not in cost


def test_ranks_that_hardly_wait_have_no_straggler() -> None:
    assert len(collectives_section(waits(0.2), {}).sentences) == 1


def test_what_is_missing_has_its_reason_once_and_one_rank_has_no_section() -> None:
    told = {"workers": {"ranks": [{"rank": rank, "collectives_missing": "no clock there"} for rank in (0, 1)]}}
    assert [sentence.text for sentence in collectives_section(None, told).sentences] == [
        "Waiting for other ranks is not told apart from work: no clock there."
    ]
    assert collectives_section(None, {"workers": {"ranks": [{"rank": 0}]}}).sentences == ()
