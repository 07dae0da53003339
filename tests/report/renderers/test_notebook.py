"""Runs and sweeps in Jupyter: small and self-contained; names are text, and nothing raises."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import engine_probe
from engine_probe.errors import InputError
from tests.support.recordings.run_folders import facts, ran, write_run, write_sweep
from tests.support.values import has_values, values

HOSTILE = '<script>alert(1)</script>"\x1b[31m\u202e'


class Elements(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.words += data + " "


def test_names_are_names_and_nothing_is_loaded(tmp_path: Path) -> None:
    page = engine_probe.load(write_run(tmp_path / "run", ran(2), facts(name=HOSTILE)))._repr_html_()
    found = Elements(page)
    assert "script" not in found.tags
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert not [name for name, _ in found.attributes if name.startswith("on") or name in ("src", "href")]
    assert not re.search(r"var\([^,)]*\)", page)  # without a style sheet each colour has one to fall back on


@pytest.mark.lengthy
def test_a_long_run_stays_small(tmp_path: Path) -> None:
    page = engine_probe.load(write_run(tmp_path / "run", ran(60, output=400, blocks=200)))._repr_html_()
    assert len(page) < 40_000


@pytest.mark.parametrize("damage", ["empty", "torn"])
def test_damaged_runs_are_described(tmp_path: Path, damage: str) -> None:
    folder = write_run(tmp_path / "run", {} if damage == "empty" else ran(2))
    if damage == "torn":
        (folder / "requests.arrow").write_bytes(b"torn")
    said = {"empty": "holds no iteration", "torn": "is not the file that was recorded"}[damage]
    assert said in engine_probe.load(folder)._repr_html_()


@pytest.mark.lengthy
def test_a_sweep_shows_its_curve_and_its_points(tmp_path: Path) -> None:
    swept = engine_probe.load_sweep(write_sweep(tmp_path, (1, 2, 4, 8, 12, 20)))
    found = Elements(swept._repr_html_())
    assert found.tags.count("circle") == 6
    assert found.tags.count("tr") == 7
    assert "Highest throughput" in found.words
    assert repr(swept) == f"<Swept {tmp_path} (6 of 6 points measured)>"
    assert [run.requests.num_rows for run in swept.runs] == [1, 2, 4, 8, 12, 20]


def test_each_shows_itself_in_one_line(tmp_path: Path) -> None:
    swept = engine_probe.load_sweep(write_sweep(tmp_path, (1, 20)))
    run = swept.runs[1]
    assert values(repr(run).partition("/points/p20")[2]) == ["81", "20", "2,130.5"]
    assert values(repr(run.summary())) == ["20", "0.4", "2,130.5", "50", "67.5", "50", "3.931", "100%", "6"]
    assert values(repr(run.summary().ttft)) == ["50", "67.5", "90", "260.8", "99", "104.2", "20"]
    assert values(repr(swept.points[1])) == ["20", "2,130.5", "50", "67.5"]


@pytest.mark.parametrize("damage", ["empty", "torn", "cut", "gone"])
def test_a_run_that_is_damaged_or_unfinished_says_so_and_raises_nothing(tmp_path: Path, damage: str) -> None:
    folder = write_run(tmp_path / "run", {} if damage == "empty" else ran(2))
    if damage == "torn":
        (folder / "requests.arrow").write_bytes(b"torn")
    if damage == "cut":
        document = json.loads((folder / "run.json").read_text())
        unfinished = {"status": "recording", "process": document["process"] | {"started": 1}}
        for name in ("tables", "workers", "close", "failure"):
            del document[name]
        (folder / "run.json").write_text(json.dumps(document | unfinished))
        for name in ("iterations", "requests", "preemptions", "telemetry"):
            (folder / f"{name}.arrow").rename(folder / f"{name}.arrows")
    run = engine_probe.load(folder)
    if damage == "gone":
        shutil.rmtree(folder)
    said = {
        "empty": "complete, no step",
        "torn": "complete, but",
        "cut": "cut short, but",
        "gone": "complete, but",
    }[damage]
    assert said in repr(run)
    assert "\n" not in repr(run)
    assert str(folder) in run._repr_html_()


def test_a_summary_says_what_speaks_against_it(tmp_path: Path) -> None:
    """Also by itself, without its run: that the probe failed, and what was computed a second time."""
    folder = write_run(tmp_path / "run", ran(20))
    document = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(document | {"status": "incomplete", "failure": "Boom"}))
    shown = Elements(engine_probe.load(folder).summary()._repr_html_())
    words = " ".join(shown.words.split())
    assert "Boom" in words
    assert has_values(words, "6", "18.5%")
    assert shown.tags.count("tr") == 1 + 8
    assert "first token - arrival" in words


def test_a_sweep_of_several_curves_shows_what_each_comes_to(tmp_path: Path) -> None:
    points = []
    for blocks in (60, 30):
        for level in (1, 2, 4):
            key = f"b{blocks}-{level}"
            write_run(tmp_path / "points" / key, ran(level, blocks=blocks), facts(blocks))
            point = {"workload": {"concurrency": level}, "engine": {"arguments": {"num_gpu_blocks_override": blocks}}}
            points.append({"id": key, "point": point, "status": "complete"})
    (tmp_path / "sweep.json").write_text(json.dumps({"sweep": {"question": "?"}, "points": points}))
    words = Elements(engine_probe.load_sweep(tmp_path)._repr_html_()).words
    assert words.count("KV pool holds") == 2  # not the first sentence of a curve


def test_a_point_shows_its_run_or_the_reason_for_having_none(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path, (1, 2))
    (folder / "points" / "p2" / "run.json").unlink()
    shown, lost = engine_probe.load_sweep(folder).points
    assert "concurrency 1" in shown._repr_html_()
    assert "no request waited" in shown._repr_html_()
    assert "no recording" in lost._repr_html_()
    assert repr(lost) == "<SweptPoint concurrency 2: no recording>"


def test_its_table_has_a_row_for_each_point_measured_or_not(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path, (1, 2, 4))
    (folder / "points" / "p2" / "run.json").unlink()
    swept = engine_probe.load_sweep(folder)
    frame = swept.to_pandas()
    assert frame.load.tolist() == [1, 2, 4]
    assert frame.output_tokens_per_s.round(1).tolist()[0] == round(swept.runs[0].summary().output_tokens_per_s, 1)
    assert frame.output_tokens_per_s.isna().sum() == 1
    assert frame.reason.notna().sum() == 1
    assert swept.table.schema.field("ttft_p50_ms").metadata[b"unit"] == b"ms"


def test_settings_in_which_points_differ_are_columns(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path, (1, 2, 4, 8))
    document = json.loads((folder / "sweep.json").read_text())
    lengths: list[Any] = [48, 48, [1, 9], 96]
    for row, length in zip(document["points"], lengths, strict=True):
        row["point"]["input_len"] = length
    (folder / "sweep.json").write_text(json.dumps(document))
    assert engine_probe.load_sweep(folder).table["input_len"].to_pylist() == ["48", "48", "[1, 9]", "96"]


def test_a_folder_without_a_sweep_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no sweep\.json: give the folder of a sweep"):
        engine_probe.load_sweep(tmp_path)


def test_two_sweeps_show_what_changed_and_both_curves(tmp_path: Path) -> None:
    """The pool of the second holds half as much."""
    sides = [write_sweep(tmp_path / name, (1, 4, 12), blocks=blocks) for name, blocks in (("a", 60), ("b", 30))]
    compared = engine_probe.compare(*sides)
    assert repr(compared) == f"<Comparison {sides[1]} against {sides[0]}: 3 points on both sides>"
    found = Elements(compared._repr_html_())
    assert "output tokens/s" in found.words
    assert "script" not in found.tags
    assert found.tags.count("svg") == 2
    assert found.tags.count("circle") == 2 * 2 * 3  # charts x sides x loads
    assert "concurrent requests 12: b " not in found.words  # the sides stand in their order
    assert "concurrent requests 12: a " in found.words


def test_two_runs_show_their_changes_without_a_curve(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / name, ran(12, blocks=blocks), facts(blocks)) for name, blocks in (("a", 60), ("b", 30))
    ]
    found = Elements(engine_probe.compare(*runs)._repr_html_())
    assert "svg" not in found.tags
    assert found.tags.count("table") == 1
