"""The page of a machine and of a fleet: complete, self-contained, safe from hostile names, right in Chromium."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from engine_probe.commands.report import command
from engine_probe.errors import InputError
from kernels_bench.judge.fleet import FleetReport, Node
from kernels_bench.output.page.charts import heat_table, spread_box
from kernels_bench.output.page.document import page
from kernels_bench.results import INVALID
from tests.support.recordings import hardware_reports

HOSTILE = "<img src=x onerror=\"document.title='taken'\">"


def fleet() -> FleetReport:
    nodes = (Node("gpu-1", "1", hardware_reports.box(2)), Node("gpu-2", "2", failed=f"it died: {HOSTILE}"))
    return FleetReport("kernels_bench.fleet/1", "2026-11-21T10:00:00", 300.0, ("kernels_bench",), 0.05, nodes)


def test_every_part_of_a_report_is_on_its_page() -> None:
    made = page(hardware_reports.box())
    titles = ("Memory bandwidth by size", "BF16 products by shape", "Decoding", "GPU to GPU, one way",
              "GPU to GPU, latency", "The sustained run: rate", "The sustained run: power",
              "The sustained run: temperature", "The sustained run: clock",
              "Health reported by the GPUs", "Between the GPUs", "Settings")  # fmt: skip
    for title in titles:
        assert title in made
    assert "3 → 6" in made  # PCIe replays that were counted during the run
    assert ">NVIDIA H200 Tensor Core GPU, datasheet, SXM" in made  # the dashed line
    assert made.index("wrong result against float64") < made.index("persistence mode is off")  # the worst first


def test_several_cards_begin_with_a_line_each() -> None:
    made = page(hardware_reports.box(8))
    first = made[: made.index("<details")]
    for number in range(8):
        assert f"cuda:{number}</td>" in first
    assert "3.87 TB/s" in first
    assert "cuda:0</td>" not in page(hardware_reports.box(1)).partition("<h2")[0]  # one card has its table at once


def test_a_page_loads_nothing_and_hostile_names_are_text() -> None:
    for made in (page(hardware_reports.box(2, HOSTILE)), page(fleet())):
        assert "<img" not in made
        assert "&lt;img src=x" in made
        assert not re.search(r"(src|href)\s*=\s*[\"']?http", made)


def test_a_fleet_shows_the_lost_node_and_a_part_for_each_other() -> None:
    made = page(fleet())
    assert "it died: &lt;img" in made
    assert made.count("<summary>gpu-1") == 1
    assert f"badge {INVALID.lower()}" in made


def test_a_report_without_trials_or_cards_has_no_empty_charts() -> None:
    whole = hardware_reports.box(1)
    part = msgspec.structs.replace(whole.devices[0], curve=())
    bare = msgspec.structs.replace(whole, results=whole.results[-1:], topology={}, devices=(part,))
    assert "<figure" not in page(bare)


def test_headings_descend_by_one() -> None:
    for made in (page(hardware_reports.box(1)), page(hardware_reports.box(4)), page(fleet())):
        levels = [int(level) for level in re.findall(r"<h([1-6])", made)]
        assert levels[0] == 1
        assert all(below - above <= 1 for above, below in pairwise(levels))


def test_strong_colours_for_the_better() -> None:
    drawn = heat_table(("a", "b"), {("a", "b"): (1.0, "1", "a"), ("b", "a"): (2.0, "2", "b")}, best_is_high=False)
    assert "var(--c2) 70%" in drawn.split("1</td>")[0]  # the shorter time is the better
    assert 'x1="0"' in spread_box((-0.2, 0.0, 0.01, 0.02), "told")  # cut at the edge


@pytest.mark.parametrize(("made", "code"), [(hardware_reports.box(2), 1), (fleet(), 1)])
def test_engine_probe_report_reads_what_validate_wrote(made: Any, code: int, tmp_path: Path) -> None:
    (tmp_path / "saved.json").write_bytes(msgspec.json.encode(made))
    line = [str(tmp_path / "saved.json"), "--html", str(tmp_path / "page.html")]
    done = CliRunner().invoke(command, line)
    assert done.exit_code == code, done.output
    assert (tmp_path / "page.html").read_text() == page(made)
    assert "cuda:1" in done.stdout


def test_a_file_that_is_no_report_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("[]")
    done = CliRunner().invoke(command, [str(tmp_path / "x.json")])
    assert isinstance(done.exception, InputError)
    assert "x.json is a file but not a report of validate" in str(done.exception)


@pytest.mark.parametrize("kind", ["box", "fleet"])
@pytest.mark.parametrize(("width", "scheme"), [(1000, "light"), (360, "dark")])
def test_in_chromium(window: Any, tmp_path: Path, kind: str, width: int, scheme: str) -> None:
    path = tmp_path / "page.html"
    path.write_text(page(hardware_reports.box(4, HOSTILE) if kind == "box" else fleet()))
    words: list[str] = []
    loaded: list[str] = []
    sheet = window.new_page(width, scheme=scheme)
    sheet.on("console", lambda message: words.append(message.text))
    sheet.on("pageerror", lambda error: words.append(str(error)))
    sheet.on("request", lambda request: loaded.append(request.url))
    sheet.goto(path.as_uri())
    assert sheet.evaluate("document.documentElement.dataset.theme") == scheme
    assert sheet.evaluate("document.documentElement.scrollWidth") == width
    before = sheet.evaluate("getComputedStyle(document.body).backgroundColor")
    sheet.locator("#theme").click()
    assert sheet.evaluate("getComputedStyle(document.body).backgroundColor") != before
    sheet.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert sheet.locator("details:not([open])").count() == 0
    assert len(sheet.pdf(path=tmp_path / "page.pdf")) > 10_000
    sheet.close()
    assert (words, len(loaded)) == ([], 1)
