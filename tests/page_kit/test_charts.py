"""Charts as SVG: positions of points, whole ticks for counts, and descriptions for screen readers."""

from __future__ import annotations

import re

import pytest

from page_kit.chart_words import line_words
from page_kit.line_chart import MOST_BANDS, Region, Series, chart
from page_kit.page import asset
from page_kit.scale import Scale, ticks
from tests.support.values import values


def test_points_lie_between_the_ends_of_the_axes() -> None:
    drawn = chart("it", [Series("a", ((1.0, 0.0, "low"), (4.0, 9.0, "high")))], Scale("x", log=True), Scale("y"))
    spots = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', drawn)
    assert [tuple(map(float, spot)) for spot in spots] == [(62, 230), (870, 44.6)]  # y ends at 10
    assert chart("it", [], Scale("x"), Scale("y")) == ""


def test_curves_beyond_the_palette_have_patterns_of_their_own_in_the_key_too() -> None:
    """The 1st, 9th and 17th have one colour: a whole line, dots and dashes, the latter two with hollow points."""
    series = [Series(f"curve {number}", ((0, number, ""), (1, number, "")), number) for number in range(17)]
    drawn = chart("it", series, Scale("x"), Scale("y"))
    lines = re.findall(r"<polyline [^>]*?>", drawn)
    paints = re.findall(r'<polyline [^>]*? stroke="([^"]+)"', drawn)
    dashes = [found.group(1) if (found := re.search(r'stroke-dasharray="([^"]+)"', line)) else "" for line in lines]
    assert len(set(zip(paints, dashes, strict=True))) == 17
    assert (paints[0], dashes[0]) == (paints[8], "")
    assert len(re.findall(r'<circle [^>]*fill="none"', drawn)) == 2 * 9
    marks = re.findall(r'<i style="([^"]+)"', drawn)
    assert len(set(marks)) == 17


def test_a_level_holds_until_the_next_value_and_an_area_stands_on_the_axis() -> None:
    drawn = chart("it", [Series("a", ((0, 1, ""), (1, 2, "")), style="area")], Scale("x"), Scale("y"))
    (path,) = re.findall(r'<polyline points="([^"]+)"', drawn)
    assert [spot.split(",")[0] for spot in path.split()] == ["62.0", "870.0", "870.0"]
    (outline,) = re.findall(r'<polygon points="([^"]+)"', drawn)
    assert outline.split()[0] == "62.0,230"


def test_the_values_under_the_mouse_are_hidden_until_then() -> None:
    """The bands meet halfway between two values, and end with the plot."""
    series = [Series("a", ((0, 5, ""), (1, 7, ""))), Series("b", ((1, 50, ""),), right=True)]
    drawn = chart("it", series, Scale("s"), Scale("ms"), hover=True)
    words = re.findall(r'<text [^>]*visibility="hidden"[^>]*>([^<]+)</text>', drawn)
    assert words == ["s 0: a 5", "s 1: a 7, b 50 %"]
    bands = re.findall(r'<rect x="([\d.]+)" y="24" width="([\d.]+)"', drawn)
    assert bands == [("62.0", "404.0"), ("466.0", "404.0")]
    assert "visibility" not in chart("it", series, Scale("s"), Scale("ms"))


def test_a_long_line_has_few_bands_from_its_first_value_to_its_last() -> None:
    line = Series("a", [(float(x), 1.0, "") for x in range(1000)])
    words = re.findall(r">s ([\d,]+): a 1 ms<", chart("it", [line], Scale("s"), Scale("ms"), hover=True))
    assert (len(words), words[0], words[-1]) == (MOST_BANDS, "0", "999")


def test_each_kind_of_region_has_a_colour_of_its_own() -> None:
    kinds = ("spare", "unclear", "shared", "plateau", "overload")
    regions = [Region(kind, kind, None, 1.0) for kind in kinds]
    drawn = chart("it", [Series("a", ((0, 1, ""), (1, 2, "")))], Scale("x"), Scale("y"), regions)
    assert len(set(re.findall(r'fill="(#\w+)" fill-opacity', drawn))) == len(kinds)


def test_the_style_sheet_has_a_colour_for_each_kind_too_in_light_and_in_dark() -> None:
    sheet = asset("page_kit", "base.css")
    for kind in ("spare", "unclear", "shared", "plateau", "overload"):
        assert sheet.count(f"--{kind}: rgba(") == 2
    colours = re.findall(r"--(?:spare|unclear|shared|plateau|overload): rgba\(([^)]+)\)", sheet)
    assert len(set(colours)) == len(colours)


@pytest.mark.parametrize(("most", "whole", "marks"), [
    (100.0, False, (0, 20, 40, 60, 80, 100)),
    (10.0, False, (0, 2, 4, 6, 8, 10)),
    (2.0, False, (0, 0.5, 1, 1.5, 2)),
    (2.0, True, (0, 1, 2)),
    (12.0, False, (0, 2.5, 5, 7.5, 10)),
    (12.0, True, (0, 5, 10)),
    (0.5, True, (0,)),
])  # fmt: skip
def test_ticks_are_round_and_those_of_counts_whole(most: float, whole: bool, marks: tuple[float, ...]) -> None:
    assert ticks(most, whole=whole) == marks


@pytest.mark.parametrize(("most", "last"), [(0, 1), (7, 8), (64, 80), (215, 300), (0.03, 0.03), (1e6, 1e6)])
def test_an_axis_that_covers_its_values_ends_on_a_round_one(most: float, last: float) -> None:
    assert ticks(most, wanted=4, cover=True)[-1] == pytest.approx(last)


def test_of_few_points_all_are_told_of_many_the_ends_and_the_extremes() -> None:
    few = line_words("rate", [(1, 450.25), (4, 1387.6)], "requests", "tokens/s")
    assert values(few) == ["450.2", "1", "1,388", "4"]
    assert line_words("rate", [(x, x) for x in range(6)], "s", "").endswith("4 at 4, 5 at 5")
    assert "from 0 at 0 to 6 at 6" in line_words("rate", [(x, x) for x in range(7)], "s", "")
    many = line_words("rate", [(x, (x - 3) ** 2) for x in range(10)], "s", "")
    assert many == "rate, by s: from 9 at 0 to 36 at 9, lowest 0 at 3, highest 36 at 9"
    assert line_words("rate", [], "s", "") == "rate: no value"
    drawn = chart("Speed", [Series("rate", ((1.0, 2.0, ""), (2.0, 4.0, "")))], Scale("s"), Scale("W"))
    assert 'role="img" aria-label="Speed. rate in W, by s: 2 at 1, 4 at 2."' in drawn
