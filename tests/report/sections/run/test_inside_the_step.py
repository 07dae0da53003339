"""The section "Inside the step": its sentences hold the figures, and what is missing has its reason."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine_probe.analysis.step.phases import OUTSIDE, DeviceForwards, StepPhases
from engine_probe.report.sections.run.inside_the_step import inside_section
from tests.support.values import has_values, values

MS = 1_000_000


def phases(ranks: int = 1) -> StepPhases:
    """Steps of 10 and 20 ms at 1 and 4 running requests."""
    parts = {
        "input preparation": (1, 2),
        "forward": (6, 12),
        "logits": (0, 0),
        "sampling": (1, 2),
        "bookkeeping": (1, 2),
    }
    return StepPhases(
        ns={name: np.array(values) * MS for name, values in {**parts, OUTSIDE: (1, 2)}.items()},
        running=np.array([1, 4]),
        with_prefill=np.array([False, True]),
        ranks=ranks,
    )


def ranks(**facts: Any) -> dict[str, Any]:
    return {"workers": {"ranks": [{"rank": number, **facts} for number in (0, 1)]}}


def test_the_longest_phase_comes_first_and_bars_are_as_long_as_steps() -> None:
    section = inside_section(phases(), None, ranks())
    assert section.sentences[0].text.startswith("Forward")
    assert values(section.sentences[0].text)[0] == "60%"
    assert has_values(section.sentences[0].text, "15.0", "2")
    one, four = section.bars[0].bars
    assert [sum(part.share for part in bar.parts) for bar in (one, four)] == pytest.approx([0.5, 1])
    assert "logits" not in [part.name for part in four.parts]
    forward = next(row for row in section.tables[0].rows if row[0] == "forward")
    assert forward[1:3] == ("60.0%", "9.00 ms")
    assert forward[5:7] == ("6.00 ms", "12.0 ms")  # only decode, with prefill


def test_two_steps_have_no_99th_percentile() -> None:
    """As everywhere: that of a small sample would be its largest value."""
    (table,) = inside_section(phases(), None, ranks()).tables
    forward = next(row for row in table.rows if row[0] == "forward")
    assert forward[3:5] == ("9.00 ms", "-")


def test_a_device_is_told_by_its_own_times() -> None:
    device = DeviceForwards(5 * MS, 1 * MS, 1 / 6, 0.25, 0.1)
    texts = [sentence.text for sentence in inside_section(phases(), device, ranks()).sentences]
    assert len(texts) == 3
    assert has_values(texts[1], "5.00", "1.00", "17%")
    assert values(texts[2])[:2] == ["25%", "10%"]
    assert "launch-bound" in texts[2]


def test_what_is_missing_has_its_reason_once() -> None:
    texts = [sentence.text for sentence in inside_section(None, None, ranks(phases_missing="Other has none")).sentences]
    assert texts == ["The phases of the steps were not recorded: Other has none."]
    texts = [sentence.text for sentence in inside_section(phases(2), None, ranks(device_missing="no timing")).sentences]
    assert texts[1:] == ["The times of the GPUs were not recorded: no timing."]
    assert "on 2 ranks" in texts[0]


def test_a_recording_of_version_3_says_nothing() -> None:
    assert inside_section(None, None, ranks()).sentences == ()
