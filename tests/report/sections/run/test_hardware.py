"""The report's sections on hardware: memory by use, and the shares of the measured ceilings."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

from engine_probe.commands.report import command
from engine_probe.recordings.run import load
from engine_probe.report.renderers.notebook import run_html
from engine_probe.report.renderers.terminal import print_document
from engine_probe.report.run_report import run_document
from engine_probe.report.sections.run.roofline import MOST_DOTS, chosen_steps
from engine_probe.text_format import byte_size, percent
from tests.support.recordings.hardware_facts import BUSY, DOUBTFUL, GIB, hardware, memory
from tests.support.recordings.run_folders import facts, ran, write_run, write_sweep
from tests.support.values import has_values


def report(folder: Path, *more: str) -> str:
    done = CliRunner().invoke(command, [str(folder), "--verbose", *more])
    assert done.exit_code == 0, done.output
    return re.sub(r"\s+", " ", done.output)


def test_a_figure_of_nvml_that_differs_is_reported(tmp_path: Path) -> None:
    text = report(write_run(tmp_path / "run", ran(4), hardware(memory(nvml_used_bytes=31 * GIB))))
    assert has_values(text, "31", "25.0%")


def test_a_missing_part_stays_unattributed(tmp_path: Path) -> None:
    """Without graphs and other memory, 2 GiB are not attributed."""
    row = memory(graphs_bytes=None, other_bytes=None)
    text = report(write_run(tmp_path / "run", ran(4), hardware(row)), "--html", str(tmp_path / "page.html"))
    assert "not attributed 2 GiB" in text
    assert "they agree" not in text
    page = (tmp_path / "page.html").read_text()
    assert "not attributed 2 GiB" in page
    assert "nobody said" in page  # the reason stands among the sources


def test_a_processor_shows_only_the_memory_of_vllm(tmp_path: Path) -> None:
    """Two ranks share the host's memory: their parts add up, its free pages are not theirs."""
    none = dict.fromkeys(("activations_bytes", "other_bytes", "used_bytes", "nvml_used_bytes"))
    rows = [memory(rank, "cpu", **none, graphs_bytes=0) for rank in (0, 1)]
    text = report(write_run(tmp_path / "run", ran(4), hardware(*rows, roofs=None, ranks=2)))
    assert has_values(text, "0", "1", "48", "30", "48")
    assert "reserves" not in text
    assert "free" not in text.partition("Memory")[2]


def test_parts_larger_than_the_device_are_not_drawn(tmp_path: Path) -> None:
    text = report(write_run(tmp_path / "run", ran(4), hardware(memory(weights_bytes=40 * GIB))))
    assert "Rank 0" not in text


def test_a_run_without_these_facts_says_why(tmp_path: Path) -> None:
    old = report(write_run(tmp_path / "old", ran(4)))
    assert "No roofline: the size of the model's weights is not recorded." in old
    nobody = facts() | {"memory": [], "loaded": [], "unread": ["TypeError: no workers"]}
    text = report(write_run(tmp_path / "nobody", ran(4), nobody))
    assert "is not recorded (TypeError: no workers)" in text
    assert "Not read: TypeError: no workers." in text


def test_without_ceilings_there_are_rates_but_no_shares(tmp_path: Path) -> None:
    text = report(write_run(tmp_path / "run", ran(4), hardware(memory(), roofs=None)))
    assert "Bandwidth (MBU): weights and KV moved at" in text
    assert "No share of the ceilings is given" in text
    assert "GB/s (memory read)" not in text
    assert "GFLOP/s (gemm" not in text


def test_a_doubtful_ceiling_is_said_with_every_figure_that_rests_on_it(tmp_path: Path) -> None:
    """MBU, MFU, the limit, the chart, the tiles, the table of ceilings, the notebook and the JSON."""
    need = load(write_run(tmp_path / "need", ran(4), hardware(memory()))).analysis().roofline
    assert not isinstance(need, str)
    near = (need.bytes_per_s.least * 1.5, need.flops_per_s.least * 1e3)
    folder = write_run(tmp_path / "run", ran(4), hardware(memory(), roofs=near, trust=DOUBTFUL))
    text = report(folder, "--html", str(tmp_path / "page.html"), "--json", str(tmp_path / "figures.json"))
    assert text.count(f"doubtful: {BUSY}") == 2
    assert f"This is doubtful, as are the ceilings of compute and bandwidth: memory read {BUSY}; gemm" in text
    assert "impossible" not in text
    html = page(tmp_path)
    for words in ("ceiling (MBU), doubtful", "ceiling (MFU), doubtful", "memory bandwidth (doubtful)", "Ceilings: "):
        assert words in html
    assert html.count(BUSY) > 5
    assert "memory bandwidth (doubtful)" in run_html(load(folder))
    used = json.loads((tmp_path / "figures.json").read_text())["hardware_use"]
    assert {share["ceiling"]["verdict"] for share in used["shares"]} == {"doubtful"}
    assert {tuple(share["ceiling"]["doubts"]) for share in used["shares"]} == {(BUSY,)}
    assert not any(share["impossible"] for share in used["shares"])


def test_ceilings_of_older_recordings_open_and_say_what_is_not_known(tmp_path: Path) -> None:
    text = report(write_run(tmp_path / "run", ran(4), hardware(memory(), trust=None)))
    assert "(memory read, not known whether other programs used the machine)" in text
    assert "doubtful" not in text


def test_more_than_a_ceiling_is_impossible_and_said_in_red(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", ran(4), hardware(memory(), roofs=(1e15, 1e3), trust=DOUBTFUL))
    text = report(folder, "--html", str(tmp_path / "page.html"), "--json", str(tmp_path / "figures.json"))
    assert f"which is impossible: the ceiling was measured too low ({BUSY})." in text
    assert "Run `engine_probe validate` when nothing else runs, and record again." in text
    assert "It is therefore not known whether compute or memory bandwidth limited the steps." in text
    assert "matrix products took longest" not in text
    assert re.search(r'class="warning red">MFU (?:[^<]|</?code>)* impossible', page(tmp_path))
    assert "impossible" in run_html(load(folder))
    used = json.loads((tmp_path / "figures.json").read_text())["hardware_use"]
    assert {share["name"] for share in used["shares"] if share["impossible"]} == {"MFU"}
    assert "more than the hardware can do" in used["withheld"]
    console = Console(file=io.StringIO(), force_terminal=True, color_system="standard", width=200)
    print_document(run_document(load(folder), load(folder).analysis()), console)
    assert "\x1b[1;31mMFU" in console.file.getvalue()


@pytest.mark.parametrize(
    ("bandwidth", "told"),
    [
        (
            1.5,
            "The limits compute and memory bandwidth are doubtful, because the measured ceilings are: ",
        ),
        (0.1, "2 of 2 points: MBU comes to "),
    ],
)
def test_a_sweep_warns_about_its_ceilings(tmp_path: Path, bandwidth: float, told: str) -> None:
    """A bandwidth that its fastest steps nearly reach, and one that they exceed by far."""
    sweep = write_sweep(tmp_path / "sweep", (1, 2))
    need = load(write_run(tmp_path / "need", ran(1), hardware(memory()))).analysis().roofline
    assert not isinstance(need, str)
    carried = hardware(memory(), roofs=(need.bytes_per_s.most * bandwidth, 1e15), trust=DOUBTFUL)
    for path in sweep.rglob("run.json"):
        added = {name: carried[name] for name in ("memory", "loaded", "unread", "hardware")}
        path.write_text(json.dumps(json.loads(path.read_text()) | added))
    text = report(sweep, "--html", str(tmp_path / "page.html"))
    assert told in text
    assert told in page(tmp_path)


def test_a_million_steps_keep_their_extremes() -> None:
    chance = np.random.default_rng(0)
    at, speed = chance.random(1_000_000) + 1, chance.random(1_000_000) + 1
    at[123_456], speed[654_321] = 9, 0.1
    chosen = chosen_steps(np.ones(len(at), dtype=bool), at, speed)
    assert len(chosen) <= MOST_DOTS
    assert {123_456, 654_321, int(at.argmin()), int(speed.argmax())} <= set(chosen.tolist())


@pytest.mark.parametrize(("share", "told"), [(0, "0%"), (0.0006, "0.06%"), (0.126, "13%"), (1, "100%")])
def test_a_small_share_is_not_printed_as_zero(share: float, told: str) -> None:
    assert percent(share) == told


@pytest.mark.parametrize(
    ("size", "told"), [(15 * GIB, "15 GiB"), (int(22.64 * GIB), "22.6 GiB"), (410 << 20, "410 MiB"), (12, "12 bytes")]
)
def test_sizes_have_three_figures(size: int, told: str) -> None:
    assert byte_size(size) == told


def test_the_page_draws_both(window: Any, tmp_path: Path) -> None:
    """Bars of the parts' widths, logarithmic axes, an answer to the mouse, and room on a phone."""
    folder = write_run(tmp_path / "run", ran(20), hardware(memory(), memory(1, "GPU-2"), ranks=2))
    report(folder, "--html", str(tmp_path / "page.html"))
    for width in (1000, 360):
        sheet = window.new_page(width)
        words: list[str] = []
        sheet.on("console", lambda message, words=words: words.append(message.text))
        sheet.on("pageerror", lambda error, words=words: words.append(str(error)))
        sheet.goto((tmp_path / "page.html").as_uri())
        bars = sheet.locator(".bar")
        assert bars.count() == 2
        pieces = [piece.bounding_box()["width"] for piece in bars.first.locator("span").all()]
        shares = [piece / sum(pieces) for piece in pieces]
        assert shares == pytest.approx([15 / 48, 24 / 48, 1 / 48, 2 / 48, 1 / 48, 5 / 48], abs=0.01)
        roofs = sheet.locator("figure", has=sheet.get_by_role("heading", name="Roofline"))
        roofs.scroll_into_view_if_needed()
        box = roofs.locator(".u-over").bounding_box()
        sheet.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        told = roofs.locator(".u-legend").inner_text()
        assert re.search(r"operations per byte:?\s*[\d.,]+ FLOP/B", told), told
        assert sheet.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert words == []
        sheet.close()
    charts = json.loads(re.findall(r'"charts" type="application/json">(.*?)</script>', page(tmp_path), re.DOTALL)[0])
    (chart,) = (chart for chart in charts if chart["title"] == "Roofline")
    assert chart["x"]["log"]
    assert chart["y"][0]["log"]
    labels = [line["label"] for line in chart["series"]]
    assert labels == ["decode-only steps", "prefill-only steps", "mixed steps", "ceiling"]


def page(folder: Path) -> str:
    return (folder / "page.html").read_text()
