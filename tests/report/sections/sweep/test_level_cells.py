"""The cells of a level: its region in a colour that no other region has."""

from __future__ import annotations

from engine_probe.analysis.curve.regions import MEANINGS
from engine_probe.report.sections.sweep.levels import TONES


def test_no_two_regions_share_a_colour() -> None:
    regions = set(MEANINGS) - {"unclear"}
    assert len({TONES[region] for region in regions}) == len(regions) == 4
