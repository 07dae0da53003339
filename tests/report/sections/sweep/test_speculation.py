"""A sweep with drafts has a table of their acceptance over the load; one without says nothing."""

import json
from pathlib import Path

from engine_probe.recordings.curve import curves
from engine_probe.recordings.sweep import open_sweep
from engine_probe.report.sections.sweep.speculation import speculation_sections
from tests.support.recordings.run_folders import facts, ran, write_run, write_sweep
from tests.support.recordings.small_tables import table


def test_what_was_accepted_at_each_load(tmp_path: Path) -> None:
    """Four drafts of two tokens; the higher the load, the fewer are accepted."""
    points = []
    for level, accepted in ((1, [2, 2, 1]), (2, [2, 1]), (4, [])):
        drafts = [{"iteration": 0, "drafted": [2, 2, 2, 2], "accepted": accepted}]
        write_run(tmp_path / f"points/p{level}", ran(level) | {"drafts": table("drafts", drafts)}, facts())
        points.append({"id": f"p{level}", "point": {"concurrency": level}, "status": "complete"})
    (tmp_path / "sweep.json").write_text(json.dumps({"sweep": {"question": "Do drafts pay?"}, "points": points}))
    (section,) = speculation_sections(curves(open_sweep(tmp_path).points))
    rows = section.tables[0].rows
    assert [row[:4] for row in rows] == [
        ("1", "62.5%", "1.25", "75.0%"),
        ("2", "37.5%", "0.75", "50.0%"),
        ("4", "0.0%", "0.00", "0.0%"),
    ]
    assert [row[4] for row in rows] == ["1.13", "1.04", "1.00"]  # 39 decode tokens of each request, and those accepted
    assert "compare" in section.sentences[0].text


def test_nothing_without_drafts(tmp_path: Path) -> None:
    assert list(speculation_sections(curves(open_sweep(write_sweep(tmp_path, (1, 2))).points))) == []
