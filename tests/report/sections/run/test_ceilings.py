"""The measured ceilings on the page of a run; hostile names are text."""

from __future__ import annotations

from typing import Any

from engine_probe.report.document import Document
from engine_probe.report.renderers.html_document import html_page
from engine_probe.report.sections.run.ceilings import ceilings_section


def ceilings(facts: dict[str, Any]) -> str:
    """Return the page of that section alone."""
    return html_page(Document("a run", "", ceilings_section(facts)))


def carried(**more: Any) -> dict[str, Any]:
    copy = {"value": 4.3e12, "unit": "B/s", "stable": True, "quick": False, "measured": "2026-11-18T09:00:00+00:00"}
    return {
        "clock": {"wall": "2026-11-21T10:00:00+00:00"},
        "hardware": {
            "host": {"name": "AMD EPYC"},
            "gpus": [{"uuid": "GPU-1", "name": "NVIDIA <b>H200"}],
            "ceilings": {"GPU-1": {"memory copy": copy | more}},
        },
    }


def test_a_ceiling_with_its_source_and_age() -> None:
    page = ceilings(carried())
    for words in ("NVIDIA &lt;b&gt;H200", "memory copy", "4.30 TB/s", "2026-11-18 09:00", "3 days", ">full<"):
        assert words in page


def test_a_quick_unstable_ceiling_measured_after_the_run() -> None:
    page = ceilings(carried(quick=True, stable=False, measured="2026-11-21T11:00:00+00:00"))
    assert ">quick<" in page
    assert "doubtful: unstable; not known whether other programs used the machine" in page
    assert "after it began" in page


def test_a_ceiling_measured_beside_other_programs() -> None:
    busy = "measured while other programs used 48% of the cores"
    page = ceilings(carried(verdict="doubtful", doubts=[busy], spread=0.124))
    assert f"doubtful: {busy}" in page
    assert "12.4%" in page


def test_a_trusted_ceiling() -> None:
    assert ">trusted<" in ceilings(carried(verdict="trusted", doubts=[], spread=0.01))


def test_without_a_clock_there_is_no_age() -> None:
    assert ">-<" in ceilings(carried() | {"clock": {}})


def test_a_run_without_ceilings_has_no_table() -> None:
    for facts in ({}, {"hardware": None}, {"hardware": {"ceilings": {}}}):
        assert "Measured ceilings" not in ceilings(facts)
