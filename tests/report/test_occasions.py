"""`compare A1 A2 A3 --against B1 B2 B3`: the test is between the measurements."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine_probe.evaluation.occasions import compare_occasions
from engine_probe.report.charts.compare import compare_charts
from tests.support.processes.command import compare
from tests.support.recordings.golden import write_repeated
from tests.support.recordings.run_folders import facts, ran, write_run
from tests.support.values import has_values, values

RATE = "output_tokens_per_s < -5%"


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], list[Path]]:
    """Three sweeps each of a wide and of a narrow pool."""
    place = tmp_path_factory.mktemp("occasions")
    wide = [write_repeated(place / f"wide{number}", 90) for number in range(3)]
    return wide, [write_repeated(place / f"narrow{number}", 40) for number in range(3)]


@pytest.mark.lengthy
def test_all_points_come_first_and_the_method_is_said(sides: tuple[list[Path], list[Path]]) -> None:
    wide, narrow = sides
    told = compare(*wide, "--against", *narrow, "--verbose", "--fail-if", RATE)
    text = " ".join(told.stdout.split())
    assert told.exit_code == 1
    assert values(text.partition("wide0 and")[2])[0] == "2"
    assert values(text.partition("Worse over all")[2])[0] == "3"
    assert has_values(text.partition("together: ")[2], "3", "3")  # measurements before and after
    assert values(text.partition("Settings that differ")[2])[:2] == ["90", "40"]
    assert "is not a repetition of" not in text
    assert "without repeats" not in text


@pytest.mark.lengthy
def test_json_has_the_measurements_as_repeats(sides: tuple[list[Path], list[Path]]) -> None:
    wide, narrow = sides
    (found,) = json.loads(compare(*wide, "--against", *narrow[:2], "--format", "json").stdout)
    assert found["occasions"] == [3, 2]
    assert {tuple(change["repeats"]) for point in found["points"] for change in point["changes"]} == {(3, 2)}
    assert found["together"][0]["metric"] == "output_tokens_per_s"


@pytest.mark.lengthy
def test_options_may_stand_anywhere(sides: tuple[list[Path], list[Path]]) -> None:
    wide, (first, *others) = sides[0][:2], sides[1][:2]
    same = compare(*wide, "--against", first, *others).stdout
    assert compare(*wide, f"--against={first}", *others, "--fail-if", "ttft_p50_ms > 900%").stdout.endswith(
        same.partition("Settings that differ")[2]
    )


def test_an_undecided_bound_asks_for_more_measurements(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / f"run{number}", ran(4, prompt=40 + 9 * number), facts(90)) for number in range(4)]
    told = compare(*runs[::2], "--against", *runs[1::2], "--fail-if", "output_tokens_per_s < 0%", "--strict")
    assert told.exit_code == 1
    assert "more measurements on each side would decide" in told.stderr


@pytest.mark.lengthy
def test_what_is_no_repetition_is_named(sides: tuple[list[Path], list[Path]]) -> None:
    wide, narrow = sides
    text = " ".join(compare(*wide[:2], narrow[0], "--against", *narrow[1:]).stdout.split())
    assert "narrow0 is not a repetition of" in text
    assert "KV blocks 90 → 40" in text


@pytest.mark.lengthy
def test_what_cannot_be_tested_is_refused(sides: tuple[list[Path], list[Path]], tmp_path: Path) -> None:
    wide, narrow = sides
    assert "there is 1 before: name at least 2 on each side" in str(compare(wide[0], "--against", *narrow).exception)
    assert "there is 1 after --against" in str(compare(*wide, "--against", narrow[0]).exception)
    assert "is named twice" in str(compare(wide[0], wide[0], "--against", *narrow).exception)
    run = write_run(tmp_path / "run", ran(4), facts(90))
    assert "--against compares several runs, or several sweeps" in str(
        compare(*wide, "--against", narrow[0], run).exception
    )


@pytest.mark.lengthy
def test_a_chart_has_the_measurements_and_no_interval(sides: tuple[list[Path], list[Path]]) -> None:
    """The levels share the drift of their sweep, so no interval is pooled over them."""
    wide, narrow = sides
    chart = next(compare_charts([compare_occasions(wide, narrow)], ["wide", "narrow"]))
    assert "rings are the measurements" in chart.note
    assert "interval" not in chart.note
    for series in chart.series:
        assert (series.low, series.high) == ([], [])
        assert [len(each) for each in series.each] == [3, 3, 3]
        assert series.values == pytest.approx([sum(each) / 3 for each in series.each], rel=1e-3)


@pytest.mark.lengthy
def test_a_point_that_one_side_alone_was_asked_for_fails_no_bound(
    sides: tuple[list[Path], list[Path]], tmp_path: Path
) -> None:
    fewer = [write_repeated(tmp_path / f"fewer{number}", 90, (4, 12)) for number in range(2)]
    told = compare(*fewer, "--against", *sides[0], "--fail-if", RATE)
    assert told.exit_code == 4  # all sweeps are the same to the last token, which does not show how they vary
    assert "FAIL" not in told.stderr
    assert "Only in wide0 and 2 more: concurrency 20" in " ".join(told.stdout.split()).replace(
        f"{sides[0][0].parent}/", ""
    )
