"""The title of a running profile names its load, and never claims a number in flight that nobody asked for."""

from __future__ import annotations

import pytest

from engine_probe.commands.profile import title
from engine_probe.sweep.definition.sweep_file import EngineSection, Point
from engine_probe.sweep.definition.workload_section import WorkloadSection
from engine_probe.workload.arrivals import ClosedLoop, OpenLoop, Ramp


@pytest.mark.parametrize(
    ("workload", "words"),
    [
        (WorkloadSection(128, 64, num_prompts=32), "tiny · 32 requests · concurrency 32 · 128 + 64 tokens"),
        (WorkloadSection(128, 64, 8, 72), "tiny · 72 requests · concurrency 8 · 128 + 64 tokens"),
        (
            WorkloadSection(128, 64, None, 72, arrivals=OpenLoop(3.0)),
            "tiny · 72 requests · 3 requests/s · 128 + 64 tokens",
        ),
        (WorkloadSection(128, 64, None, 72, arrivals=ClosedLoop(5)), "tiny · 72 requests · 5 users · 128 + 64 tokens"),
        (WorkloadSection(128, 64, None, 72, arrivals=Ramp(1.0, 9.0)), "tiny · 72 requests · 128 + 64 tokens"),
    ],
)
def test_it_names_requests_load_and_lengths(workload: WorkloadSection, words: str) -> None:
    assert title(Point(EngineSection("tiny"), workload, label="tiny")) == words
