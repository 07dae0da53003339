"""`compare --trend`: a change that is planted in one of several sweeps is named with where it is, in every form."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner, Result

from engine_probe.cli import cli
from engine_probe.errors import InputError
from engine_probe.evaluation.trend import trend_over
from engine_probe.report.renderers.notebook import html_of
from tests.support.recordings.run_folders import facts, ran, write_run, write_sweep

DAY_NS = 86_400 * 10**9
BEGAN_NS = 1_790_000_000 * 10**9
CHANGED = 5  # the first sweep that is slower
LEVELS = (1, 4)


def stretched(tables: dict[str, pa.Table], factor: float) -> dict[str, pa.Table]:
    """Make every duration longer by a factor."""

    def column(field: pa.Field, values: pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
        if not field.name.endswith("_ns") or pa.types.is_list(field.type):
            return values
        return pa.array([None if each is None else int(each * factor) for each in values.to_pylist()], field.type)

    return {
        name: pa.table([column(field, table[field.name]) for field in table.schema], schema=table.schema)
        for name, table in tables.items()
    }


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Eight sweeps, a day apart, with one percent of noise; from the sixth on everything takes 10 % longer."""
    place, noise = tmp_path_factory.mktemp("days"), np.random.default_rng(4).standard_normal(8)
    return [
        slower(place / f"day{day}", day, (1 + 0.01 * float(noise[day])) * (1.1 if day >= CHANGED else 1.0))
        for day in range(8)
    ]


def slower(folder: Path, day: int, factor: float) -> Path:
    rows = []
    for level in LEVELS:
        place = write_run(folder / "points" / f"p{level}", stretched(ran(level), factor), facts())
        document = json.loads((place / "run.json").read_text())
        document["clock"]["wall_ns"] = BEGAN_NS + day * DAY_NS
        document["process"]["host"] = "host"
        (place / "run.json").write_text(json.dumps(document))
        rows.append({"id": f"p{level}", "status": "complete", "point": {"concurrency": level, "input_len": 48}})
    (folder / "sweep.json").write_text(json.dumps({"sweep": {"question": "?"}, "points": rows}))
    return folder


def compare(*words: object) -> Result:
    return CliRunner().invoke(cli, ["compare", *map(str, words)])


def said(result: Result) -> str:
    return re.sub(r"\s+", " ", result.stdout)


@pytest.mark.lengthy
def test_a_change_is_named_with_the_day_from_which_on_it_is(sweeps: list[Path]) -> None:
    shown = compare(*reversed(sweeps), "--trend", "time")  # in whatever order they are named
    assert shown.exit_code == 0
    words = said(shown)
    assert "Worse from 2026-09-26 14:13 on over all 2 points: output tokens/s" in words
    assert words.index("day0 ") < words.index("day7 ")


@pytest.mark.lengthy
def test_its_json_has_values_intervals_and_the_place_of_the_change(sweeps: list[Path]) -> None:
    document = json.loads(compare(*sweeps, "--trend", "time", "--format", "json").stdout)
    assert [each["name"] for each in document["occasions"]] == [folder.name for folder in sweeps]
    rate = next(each for each in document["together"] if each["metric"] == "output_tokens_per_s")
    (change,) = rate["changes"]
    assert change["between"] == [CHANGED - 1, CHANGED]
    assert change["relative"] == pytest.approx(-0.09, abs=0.02)
    assert change["verdict"] == "worse"
    assert len(rate["values"]) == len(rate["intervals"]) == len(sweeps)
    assert document["points"].keys() == {"concurrency 1", "concurrency 4"}


@pytest.mark.lengthy
def test_without_a_change_none_is_shown(sweeps: list[Path]) -> None:
    words = said(compare(*sweeps[:CHANGED], "--trend", "time"))
    assert "No change is shown over 5 measurements." in words


@pytest.mark.lengthy
@pytest.mark.parametrize(("last", "code"), [(CHANGED, 1), (CHANGED - 1, 0)])
def test_a_bound_is_for_the_last_against_those_before(sweeps: list[Path], last: int, code: int) -> None:
    shown = compare(*sweeps[: last + 1], "--trend", "time", "--fail-if", "output_tokens_per_s < -4%")
    assert shown.exit_code == code, shown.stdout


@pytest.mark.lengthy
def test_several_measurements_of_the_last_label_are_one_side(sweeps: list[Path]) -> None:
    labels = "a,a,a,a,a,b,b,b"
    shown = compare(*sweeps, "--trend", labels, "--fail-if", "output_tokens_per_s < -4%")
    assert shown.exit_code == 1
    found = trend_over(sweeps, labels)
    assert found.last.occasions == (5, 3)
    assert "Worse from b on" in said(shown)


def test_labels_keep_their_order_and_gather_their_measurements(sweeps: list[Path]) -> None:
    found = trend_over([sweeps[0], sweeps[6], sweeps[1], sweeps[2]], "v1,v2,v1,v1")
    assert [each.name for each in found.occasions] == ["day0", "day1", "day2", "day6"]
    assert [each.label for each in found.occasions] == ["v1", "v1", "v1", "v2"]


@pytest.mark.lengthy
def test_a_setting_that_changes_on_the_way_is_told_where(sweeps: list[Path], tmp_path: Path) -> None:
    other = write_sweep(tmp_path / "other", LEVELS)
    for file in other.glob("points/*/run.json"):
        document = json.loads(file.read_text())
        document["versions"]["vllm"], document["process"]["host"] = "0.33.0", "host"
        file.write_text(json.dumps(document))
    found = trend_over([*sweeps[:3], other], "vllm")
    assert [each.label for each in found.occasions] == ["0.32.0"] * 3 + ["0.33.0"]
    assert "versions.vllm differs: 0.32.0 before, 0.33.0 after" in " ".join(found.settings)


@pytest.mark.lengthy
def test_the_page_and_the_notebook_draw_each_figure_with_its_change(sweeps: list[Path], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    compare(*sweeps, "--trend", "time", "--html", page)
    text = page.read_text()
    assert text.count('"label":"changed, p ') >= 3
    assert text.count('"label":"changed, p ') == text.count('"names_its_place":false')
    assert "Worse from" in html_of(trend_over(sweeps, "time"))


@pytest.mark.parametrize(
    ("count", "axis", "more", "sentence"),
    [
        (2, "time", (), "at least 3 measurements, and there are 2"),
        (3, "a,b", (), "or 3 labels with commas"),
        (3, "a,,b", (), "or 3 labels with commas"),
        (3, "a,a,a", (), "there is nothing before the last"),
        (3, "time", ("--history", "X"), "leave --against and --history out"),
    ],
)
def test_what_cannot_be_followed_is_refused(
    sweeps: list[Path], count: int, axis: str, more: tuple[str, ...], sentence: str
) -> None:
    words = (str(sweeps[4]) if word == "X" else word for word in more)
    shown = compare(*sweeps[:count], "--trend", axis, *words)
    assert isinstance(shown.exception, InputError)
    assert sentence in str(shown.exception)


@pytest.mark.lengthy
def test_a_run_among_sweeps_and_a_sweep_named_twice_are_refused(sweeps: list[Path], tmp_path: Path) -> None:
    mixed = compare(sweeps[0], sweeps[1], sweeps[2] / "points/p1", "--trend", "time")
    assert "a run: --trend follows several runs, or several sweeps" in str(mixed.exception)
    (empty := tmp_path / "empty").mkdir()
    (empty / "sweep.json").write_text(json.dumps(json.loads((sweeps[0] / "sweep.json").read_text()) | {"points": []}))
    none = str(compare(sweeps[0], sweeps[1], empty, "--trend", "time").exception)
    assert "empty has no complete point" in none
    assert "is named twice" in str(compare(sweeps[0], sweeps[1], sweeps[0], "--trend", "time").exception)
