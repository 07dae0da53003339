"""The page in a real headless Chromium: it draws without a word on the console, answers to the mouse, fits a phone."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from engine_probe.commands.report import command
from tests.support.recordings.run_folders import facts, ran, write_run, write_sweep

Open = Callable[..., Any]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("pages")
    hostile = "<img src=x onerror=\"document.title='taken'\">"
    folders = {
        "sweep": write_sweep(place / "sweep", (1, 2, 4, 8, 12, 20)),
        "run": write_run(place / "run", ran(20), facts(name=hostile)),
    }
    for name, folder in folders.items():
        done = CliRunner().invoke(command, [str(folder), "--html", str(place / f"{name}.html")])
        assert done.exit_code == 0, done.output
    return {name: place / f"{name}.html" for name in folders}


@pytest.fixture
def opened(window: Any, pages: dict[str, Path]) -> Iterator[Open]:
    """Opens a page; at the end nothing may have been said on its console, and nothing loaded."""
    words: list[str] = []
    loaded: list[str] = []
    sheets = []

    def open_page(name: str, width: int = 1000, scheme: str = "light") -> Any:
        sheet = window.new_page(width, scheme=scheme)
        sheets.append(sheet)
        sheet.on("console", lambda message: words.append(message.text))
        sheet.on("pageerror", lambda error: words.append(str(error)))
        sheet.on("request", lambda request: loaded.append(request.url))
        sheet.goto(pages[name].as_uri())
        return sheet

    yield open_page
    for sheet in sheets:
        sheet.close()
    assert words == []
    assert len(loaded) == len(sheets)


@pytest.mark.lengthy
@pytest.mark.parametrize("name", ["run", "sweep"])
def test_headings_descend_by_one(pages: dict[str, Path], name: str) -> None:
    levels = [int(level) for level in re.findall(r"<h([1-6])", pages[name].read_text().partition("<script")[0])]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(below - above <= 1 for above, below in pairwise(levels))


def test_each_point_is_a_heading_above_its_charts(pages: dict[str, Path]) -> None:
    """Those who jump from heading to heading must hear to which point a chart belongs."""
    headings = re.findall(r"<h([1-6])[^>]*>(.*?)</h", pages["sweep"].read_text().partition("<script")[0])
    first = headings.index(("2", "Each point")) + 1
    level, name = headings[first]
    assert level == "3"
    assert name.startswith("concurrency")
    assert headings[first + 1][0] == "4"


def plots(sheet: Any) -> int:
    return int(sheet.evaluate("document.querySelectorAll('.plot .uplot canvas').length"))


def test_every_chart_of_a_run_is_drawn(opened: Open) -> None:
    sheet = opened("run")
    assert plots(sheet) == sheet.locator(".plot").count() == 7
    assert sheet.title().startswith("engine_probe: <img")  # a name is text


def test_the_points_of_a_sweep_are_drawn_when_opened(opened: Open) -> None:
    sheet = opened("sweep")
    assert plots(sheet) == 9
    sheet.locator(".each > details > summary").nth(5).click()
    sheet.wait_for_function("document.querySelectorAll('.plot .uplot canvas').length === 16")


def test_hover_tells_the_values(opened: Open) -> None:
    sheet = opened("run")
    legend = sheet.locator(".plot").first.locator(".u-value")
    assert not legend.nth(1).is_visible()  # nothing to tell before there is a moment
    sheet.locator(".plot").first.locator(".u-over").hover()
    assert legend.nth(1).inner_text().isdigit()
    assert legend.nth(2).inner_text().isdigit()
    assert legend.nth(3).inner_text().endswith("%")
    gantt = sheet.locator("figure", has=sheet.get_by_role("heading", name="Requests", exact=True))
    gantt.locator(".u-over").hover(position={"x": 60, "y": 5})
    assert gantt.locator(".told").inner_text() == "r0: prefill, 0 s to 0.0532 s (0.0532 s)"


def picture(place: Any) -> str:
    return str(place.locator("canvas").first.evaluate("canvas => canvas.toDataURL()"))


def test_drag_zooms_double_click_undoes_and_the_legend_toggles(opened: Open) -> None:
    sheet = opened("run")
    place = sheet.locator("figure", has=sheet.get_by_role("heading", name="Throughput over time")).locator(".plot")
    place.scroll_into_view_if_needed()
    before = picture(place)
    box = place.locator(".u-over").bounding_box()
    sheet.mouse.move(box["x"] + 100, box["y"] + 50)
    sheet.mouse.down()
    sheet.mouse.move(box["x"] + 300, box["y"] + 60, steps=4)
    sheet.mouse.up()
    sheet.wait_for_timeout(100)
    assert picture(place) != before
    place.locator(".u-over").dblclick()
    sheet.wait_for_timeout(100)
    assert picture(place) == before
    place.locator(".u-legend th").nth(1).click()
    assert place.locator(".u-series.u-off").count() == 1


COLOURS_BELOW_THE_PLOT = """place => {
  const {ctx: {canvas}, bbox} = place.plot, strong = new Set(), floor = bbox.top + bbox.height + 3;
  const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", {willReadFrequently: true});
  copy.drawImage(canvas, 0, 0);
  const {data} = copy.getImageData(0, floor, canvas.width, canvas.height - floor);
  for (let at = 0; at < data.length; at += 4) {
    const colours = [...data.slice(at, at + 3)];
    if (data[at + 3] > 128 && Math.max(...colours) - Math.min(...colours) > 60) strong.add(colours.join());
  }
  return [...strong];
}"""


def test_a_zoom_leaves_the_words_of_the_axes_their_colour(opened: Open) -> None:
    """Spans, regions and marks paint on the canvas from which uPlot goes on."""
    sheet = opened("run")
    for title in ("Bottleneck over time", "Requests", STEPPED[0]):
        figure = sheet.locator("figure", has=sheet.get_by_role("heading", name=title, exact=True))
        figure.locator(".plot").evaluate("place => place.plot.setScale('x', {min: 0.01, max: 0.1})")
        sheet.wait_for_timeout(50)
        assert figure.locator(".plot").evaluate(COLOURS_BELOW_THE_PLOT) == []


SPIED = """() => { const told = []; const draw = CanvasRenderingContext2D.prototype.fillText;
CanvasRenderingContext2D.prototype.fillText = function (text, x, y, ...rest) {
    told.push({ text, left: x, right: x + this.measureText(text).width, bottom: y, canvas: this.canvas.width });
    return draw.call(this, text, x, y, ...rest);
}; return told; }"""
REDRAWN = """place => { const told = (%s)(); place.plot.redraw();
return new Promise(done => setTimeout(() => done(told), 100)); }"""


def test_the_label_of_a_mark_stays_on_a_narrow_page_and_above_the_plot(window: Any, tmp_path: Path) -> None:
    sweep, reference = write_sweep(tmp_path / "sweep", (1, 2, 4, 8, 12, 20)), tmp_path / "toy.toml"
    figures = "".join(f'[[figures]]\nmodel = "tiny"\nwhat = "kv_saturation"\nvalue = {load}\n' for load in (7, 12, 19))
    reference.write_text(f'title = "A toy"\nsource = "a paper"\n[setting]\ngpu = "L40S"\n{figures}')
    page = tmp_path / "page.html"
    done = CliRunner().invoke(command, [str(sweep), "--reference", str(reference), "--html", str(page)])
    assert done.exit_code == 0, done.output
    sheet = window.new_page(400)
    sheet.goto(page.as_uri())
    kv = sheet.locator("figure", has=sheet.get_by_role("heading", name="KV occupancy", exact=True))
    drawn = kv.locator(".plot").evaluate(REDRAWN % SPIED)
    labels = [each for each in drawn if each["text"].startswith("published")]
    top = kv.locator(".plot").evaluate("place => place.plot.bbox.top")
    sheet.close()
    assert [label["text"].rpartition(": ")[2] for label in labels] == ["19", "12", "7"]
    assert top > labels[0]["bottom"] > labels[1]["bottom"] > labels[2]["bottom"] > 0
    assert all(label["left"] >= 0 and label["right"] <= label["canvas"] for label in labels)


def test_counts_have_whole_ticks(opened: Open) -> None:
    sheet = opened("run")
    place = sheet.locator("figure", has=sheet.get_by_role("heading", name="Admission, queueing")).locator(".plot")
    place.evaluate("place => place.plot.setScale('y0', {min: 0, max: 2.2})")
    sheet.wait_for_timeout(50)
    splits = place.evaluate("place => place.plot.axes.find(each => each.scale === 'y0')._splits")
    assert splits == [0, 1, 2]


def test_light_and_dark_by_the_reader_or_by_the_system(opened: Open) -> None:
    sheet = opened("run", scheme="dark")
    background = "getComputedStyle(document.body).backgroundColor"
    dark = sheet.evaluate(background)
    sheet.locator("#theme").click()
    assert sheet.evaluate("document.documentElement.dataset.theme") == "light"
    assert sheet.evaluate(background) != dark


@pytest.mark.parametrize("name", ["run", "sweep"])
def test_it_fits_a_phone(opened: Open, name: str) -> None:
    sheet = opened(name, width=360)
    assert sheet.evaluate("document.documentElement.scrollWidth") == 360


def test_it_prints_light_and_what_is_open(opened: Open) -> None:
    """All of a run, and of a sweep the points that somebody opened: a hundred points would be a thousand sheets."""
    sheet = opened("sweep", scheme="dark")
    closed = sheets(sheet.pdf())
    sheet.locator(".each > details > summary").first.click()
    assert sheets(sheet.pdf()) >= closed + 2
    sheet.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert sheet.evaluate("document.documentElement.dataset.theme") == "light"
    heights = sheet.locator(".plot:visible").evaluate_all("all => all.map(one => one.plot.height)")
    assert max(heights) <= 300  # three charts to a sheet
    assert sheet.evaluate("document.querySelectorAll('figure').length") > len(heights)  # what is closed stays closed


def sheets(pdf: bytes) -> int:
    return len(re.findall(rb"/Type\s*/Page\b", pdf))


def test_no_column_is_cut_off_on_paper(opened: Open) -> None:
    """A4 is 703 pixels wide between its margins."""
    sheet = opened("sweep", width=703)
    sheet.emulate_media(media="print")
    edges = sheet.locator(".wide:visible").evaluate_all("all => all.map(one => [one.scrollWidth, one.clientWidth])")
    assert edges
    assert all(needed <= there for needed, there in edges)


def test_charts_of_one_run_show_the_same_stretch_of_time(opened: Open) -> None:
    """From the same left edge to the same right edge: the levels, what holds the steps up, requests, preemptions."""
    sheet = opened("run")
    edges = """name => {
      const title = [...document.querySelectorAll('figure > :first-child')].find(each => each.textContent === name);
      const {scales: {x: {min, max}}, bbox: {left, width}} = title.parentElement.querySelector('.plot').plot;
      return [min, max, left, width];
    }"""
    found = [sheet.evaluate(edges, name) for name in (*STEPPED, "Bottleneck over time", "Requests")]
    assert found[0][0] == 0
    assert found.count(found[0]) == 5


STEPPED = ("Admission, queueing and memory pressure", "Step duration by phase", "Preemptions")


@pytest.mark.lengthy
def test_what_holds_until_the_next_step_is_not_drawn_as_a_slope(pages: dict[str, Path]) -> None:
    """Between two steps of 50 ms as many requests run as before."""
    styles = {chart["title"]: {each["style"] for each in chart["series"]} for chart in charts(pages["run"])}
    assert [styles[title] - {"step", "dots"} for title in STEPPED] == [set()] * 3


def charts(page: Path) -> list[dict[str, Any]]:
    told = re.findall(r'"charts" type="application/json">(.*?)</script>', page.read_text(), re.DOTALL)
    return [chart for chart in json.loads(told[0]) if chart["kind"] == "lines"]


def test_a_line_that_is_dashed_is_dashed_in_its_legend(opened: Open) -> None:
    sheet = opened("sweep")
    kv = sheet.locator("figure", has=sheet.get_by_role("heading", name="KV occupancy", exact=True))
    styles = kv.locator(".u-series .u-marker").evaluate_all(
        "all => all.map(one => getComputedStyle(one).borderTopStyle)"
    )
    assert styles[-2:] == ["solid", "dashed"]


def test_short_parts_of_a_step_are_seen_beside_long_ones(opened: Open) -> None:
    """Powers of ten around 0.5 ms of schedule() and 3 to 53 ms of execute; the gaps, all zero, are not drawn."""
    sheet = opened("run")
    place = sheet.locator("figure", has=sheet.get_by_role("heading", name="Step duration by phase", exact=True))
    scale = place.locator(".plot").evaluate("place => [place.plot.scales.y0.min, place.plot.scales.y0.max]")
    assert scale == [0.1, 100]
