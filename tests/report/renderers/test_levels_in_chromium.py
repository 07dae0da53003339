"""Repeats, limits and money in a real headless Chromium: intervals are told, break-even is shaded, a phone holds it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from engine_probe.commands.report import command
from tests.support.recordings.run_folders import facts, ran, write_run

LEVELS = (1, 2, 4, 8, 14)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every level three times, with prompts of 47, 48 and 49 tokens to make a difference."""
    folder = tmp_path_factory.mktemp("levels")
    points = []
    for repeat in range(3):
        for level in LEVELS:
            id_ = f"p{level}-{repeat}"
            write_run(folder / "points" / id_, ran(level, prompt=47 + repeat), facts())
            points.append({"id": id_, "point": {"concurrency": level, "repeat": repeat}, "status": "complete"})
    document = {"sweep": {"question": "Where does it pay?"}, "points": points}
    (folder / "sweep.json").write_text(json.dumps(document))
    words = ["--goodput", "ttft:60", "--cost-per-hour", "3.6EUR", "--price-per-million", "1"]
    done = CliRunner().invoke(command, [str(folder), "--html", str(folder / "page.html"), *words])
    assert done.exit_code == 0, done.output
    return folder / "page.html"


@pytest.fixture
def sheet(window: Any, page: Path) -> Iterator[Any]:
    words: list[str] = []
    opened = window.new_page(390)
    opened.on("console", lambda message: words.append(message.text))
    opened.on("pageerror", lambda error: words.append(str(error)))
    opened.goto(page.as_uri())
    yield opened
    opened.close()
    assert words == []


def figure(sheet: Any, title: str) -> Any:
    return sheet.locator("figure", has=sheet.get_by_role("heading", name=title, exact=True))


def test_each_repeat_of_a_level_is_drawn_over_time(sheet: Any) -> None:
    """Three lines of one colour, one name, one switch, and a value of each under the mouse."""
    place = figure(sheet, "Throughput over time, by level")
    lines = "place => place.plot.series.slice(1).map(each => [each.label, each._stroke, each.show])"
    drawn = place.locator(".plot").evaluate(lines)
    assert [label for label, *_ in drawn] == [f"concurrency {level}" for level in LEVELS for _ in range(3)]
    assert len({colour for _, colour, _ in drawn}) == len(LEVELS)
    names = place.locator(".u-legend .u-series:visible .u-label").all_inner_texts()
    assert [name.removesuffix(":") for name in names] == [f"concurrency {level}" for level in LEVELS]
    place.locator(".u-over").hover(position={"x": 20, "y": 60})
    told = place.locator(".u-series:visible .u-value").nth(1).inner_text()
    assert len(told.removesuffix(" tokens/s").split(" / ")) == 3
    place.locator(".u-legend .u-series:visible th").nth(1).click()
    assert [show for *_, show in place.locator(".plot").evaluate(lines)] == [False] * 3 + [True] * 12


def test_hover_tells_the_mean_its_interval_and_each_repeat(sheet: Any) -> None:
    place = figure(sheet, "Throughput and its regions")
    place.locator(".u-over").hover()
    told = place.locator(".u-value").nth(1).inner_text()
    numbers = [float(number) for number in re.findall(r"[\d.]+", told.replace(",", ""))]
    mean, low, high, *each = numbers
    assert low < mean < high
    assert len(each) == 3
    assert mean == pytest.approx(sum(each) / 3, rel=1e-4)


@pytest.mark.parametrize("title", ["Goodput", "Cost per million output tokens", "Revenue, cost and profit"])
def test_its_charts_are_drawn(sheet: Any, title: str) -> None:
    assert figure(sheet, title).locator("canvas").count() == 1


def test_hover_tells_the_interval_over_repeats(sheet: Any) -> None:
    place = figure(sheet, "Cost per million output tokens")
    place.locator(".u-over").hover()
    told = place.locator(".u-value").nth(1).inner_text()
    mean, _, ends = told.partition(" EUR (")
    low, high = (float(end) for end in ends.removesuffix(")").split(" to "))
    assert low < float(mean) < high
    bottom, top = place.locator(".plot").evaluate("place => [place.plot.scales.y0.min, place.plot.scales.y0.max]")
    highest = place.locator(".plot").evaluate("place => Math.max(...place.plot.data[1].filter(Boolean))")
    assert bottom == 0
    assert top >= min(high, 1.5 * highest)  # whiskers have room within the plot


def test_a_series_switched_off_takes_its_whiskers_along(sheet: Any) -> None:
    place = figure(sheet, "Cost per million output tokens")
    drawn = "canvas => canvas.toDataURL().length"
    before = place.locator("canvas").evaluate(drawn)
    place.locator(".u-legend th").nth(1).click()
    sheet.wait_for_timeout(100)
    assert place.locator("canvas").evaluate(drawn) < before


def test_a_phone_holds_it(sheet: Any) -> None:
    assert sheet.evaluate("document.documentElement.scrollWidth") == 390


def test_a_phone_shows_that_a_table_goes_on_and_keeps_its_first_column(sheet: Any) -> None:
    wide = sheet.locator(".wide").filter(has=sheet.locator("td")).first
    wider = "table => table.scrollWidth - table.clientWidth"
    assert wide.evaluate(wider) > 0
    assert wide.evaluate("table => getComputedStyle(table).backgroundAttachment") == "local, local, scroll, scroll"
    first = "table => table.querySelector('td').getBoundingClientRect().x - table.getBoundingClientRect().x"
    assert wide.evaluate(f"table => {{ table.scrollLeft = {wider.partition('=> ')[2]}; return ({first})(table) }}") == 0
