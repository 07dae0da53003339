"""Points that ran without the probe failed at nothing: they tell what the probe costs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import engine_probe
from engine_probe.commands import compare, report
from tests.support.recordings.run_folders import facts, ran, write_run
from tests.support.values import has_values, values

SECOND = 1_000_000_000
COST = "The probe changed the time of the same work by +2.0% ± 2.5%, with 95% confidence from 3 pairs"
PROBED, UNPROBED = (10.1, 10.2, 10.3), (10.0, 10.0, 10.0)


def clock(seconds: float) -> dict[str, int]:
    return {"started_ns": SECOND, "ended_ns": SECOND + int(seconds * SECOND)}


def overhead_sweep(folder: Path, probed: tuple[float, ...] = PROBED, unprobed: tuple[float, ...] = UNPROBED) -> Path:
    """One level with and without the probe, a repeat for each time it took."""
    points: list[dict[str, Any]] = []
    for probe, took in ((True, probed), (False, unprobed)):
        for repeat, seconds in enumerate(took):
            name = f"{'on' if probe else 'off'}{repeat}"
            asked = {"workload": {"concurrency": 4}, "repeat": repeat, "probe": probe, "label": name}
            points.append({"id": name, "point": asked, "status": "complete"})
            place = folder / "points" / name
            if probe:
                run = write_run(place, ran(4), facts()) / "run.json"
                run.write_text(json.dumps(json.loads(run.read_text()) | {"outcome": clock(seconds)}))
            else:
                points[-1]["reason"] = "ran without the probe, so there is no recording"
                place.mkdir(parents=True)
                (place / "driven.json").write_text(json.dumps(clock(seconds)))
    (folder / "sweep.json").write_text(json.dumps({"sweep": {"question": "What does it cost?"}, "points": points}))
    return folder


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return overhead_sweep(tmp_path_factory.mktemp("overhead"))


def command(which: Any, *arguments: object) -> Result:
    # Wide, so that no path is broken, however long the name of the temporary folder.
    return CliRunner(env={"COLUMNS": "500"}).invoke(which.command, [str(argument) for argument in arguments])


def said(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def test_every_form_of_the_report_says_what_the_pairs_say_and_none_that_anything_is_lost(
    sweep: Path, tmp_path: Path
) -> None:
    page, figures = tmp_path / "report.html", tmp_path / "report.json"
    result = command(report, sweep, "--html", page, "--json", figures)
    assert result.exit_code == 0
    swept = engine_probe.load_sweep(sweep)
    for text in (result.output, page.read_text(), swept._repr_html_()):
        assert COST in said(text)
        assert "was not measured" not in text
    assert 'class="warning' not in page.read_text()
    document = json.loads(figures.read_text())
    assert document["watching"]["pairs"] == 3
    assert [point["driver_seconds"] for point in document["points"]] == [*PROBED, *UNPROBED]
    assert [curve["label"] for curve in document["curves"]] == ["probe True"]
    assert values(repr(swept).removeprefix(f"<Swept {sweep} ")) == ["6", "6", "3"]


def test_points_without_a_partner_are_counted_and_lost_ones_are_still_lost(tmp_path: Path) -> None:
    folder = overhead_sweep(tmp_path / "alone", probed=())
    result = command(report, folder, "--html", tmp_path / "alone.html")
    assert result.exit_code == 0
    assert has_values(said(result.output).partition("had no partner")[0], "3")
    (folder / "points/off1/driven.json").write_text("{}")
    (folder / "points/off2/driven.json").unlink()
    result = command(report, folder)
    assert result.exit_code == 1
    assert "1 point ran without the probe" in said(result.output)
    assert "off1/driven.json is not what engine_probe writes (Object missing required field" in said(result.output)


def test_a_clock_that_runs_backwards_is_no_time(tmp_path: Path) -> None:
    folder = overhead_sweep(tmp_path / "back", (10.0,), (-1.0,))
    result = command(report, folder)
    assert result.exit_code == 1
    assert "it ends before it began" in said(result.output)


def test_compare_pairs_what_was_watched_and_calls_the_rest_by_its_name(sweep: Path, tmp_path: Path) -> None:
    other = overhead_sweep(tmp_path / "other")
    result = command(compare, sweep, other, "--fail-if", "output_tokens_per_s < -5%")
    assert result.exit_code == 4
    assert "was not measured" not in said(result.output)
    assert "ran without the probe: there is nothing to compare" in said(result.output)
