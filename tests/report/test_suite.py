"""The report of a suite: sections in the order of its document, and a reason for whatever is not measured."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

import engine_probe
from engine_probe.cli import cli
from engine_probe.recordings.suite import COMPLETE, FAILED, SectionState, SuiteState, SweepState
from tests.support.recordings.run_folders import write_sweep

LEVELS = (1, 4, 8)


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models together, one sweep alone with published figures, and one that could not be measured."""
    folder = tmp_path_factory.mktemp("suite")
    table = folder / "table.toml"
    table.write_text(
        'title = "A paper"\nsource = "A page"\n[[figures]]\nmodel = "third"\nwhat = "kv_capacity_tokens"\nvalue = 960\n'
    )
    for name in ("small", "large", "third"):
        write_sweep(folder / "one" / name, LEVELS, blocks=60, name=name)
    sections = [
        SectionState("6.1 Concurrency", True, None, "Read this first."),
        SectionState("6.2 Length", False, str(table)),
        SectionState("6.3 Ranks", False, None),
    ]
    sweeps = [
        SweepState(name, 0 if number < 2 else 1, name, [], f"one/{name}", COMPLETE, seconds=61.0)
        for number, name in enumerate(("small", "large", "third"))
    ]
    sweeps.append(SweepState("two_gpus", 2, "two_gpus", [], "ranks/two_gpus", FAILED, 2, "2 ranks need as many GPUs"))
    state = SuiteState("Scaling", "A thesis", sections, sweeps)
    (folder / "suite.json").write_bytes(msgspec.json.encode(state))
    return folder


def report(*words: object) -> Result:
    return CliRunner().invoke(cli, ["report", *map(str, words)], catch_exceptions=False)


@pytest.mark.lengthy
def test_its_sections_are_those_of_the_document(suite: Path) -> None:
    shown = report(suite)
    assert shown.exit_code == 1  # one sweep is missing
    words = re.sub(r"\s+", " ", shown.stdout)
    order = ["3 of 4 sweeps complete.", "two_gpus: 2 ranks need as many GPUs.", "6.1 Concurrency Read this first."]
    order += ["model small: The KV pool", "6.2 Length", "6.3 Ranks Nothing of it is measured."]
    places = [words.index(part) for part in order]
    assert places == sorted(places)
    assert "Published: A paper" not in words
    assert "Published: A paper" in report(suite, "--verbose").stdout


@pytest.mark.lengthy
def test_a_few_lines_of_each_sweep_are_shown(suite: Path) -> None:
    _, together, alone, ranks = re.split("^6[.][123] .*$", report(suite).stdout, flags=re.MULTILINE)
    assert max(len(part.strip().splitlines()) for part in (together, alone, ranks)) <= 8


@pytest.mark.lengthy
def test_its_page_has_the_charts_of_every_section(suite: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    report(suite, "--html", page)
    text = page.read_text()
    assert text.count('"title":"Throughput and its regions"') == 2
    assert "<h2>6.1 Concurrency</h2>" in text


@pytest.mark.lengthy
def test_its_json_has_the_state_and_the_figures_of_each_sweep(suite: Path) -> None:
    document = json.loads(report(suite, "--json", "-").stdout)
    assert document["kind"] == "suite"
    assert [sweep["status"] for sweep in document["suite"]["sweeps"]] == [COMPLETE] * 3 + [FAILED]
    assert {name: figures["kind"] for name, figures in document["figures"].items()} == dict.fromkeys(
        ("small", "large", "third"), "sweep"
    )


@pytest.mark.lengthy
def test_a_notebook_shows_its_sections(suite: Path) -> None:
    shown = engine_probe.load_suite(suite)._repr_html_()
    assert shown.index("6.1 Concurrency") < shown.index("model small") < shown.index("6.2 Length")


@pytest.mark.lengthy
def test_two_suites_are_compared_sweep_by_sweep(suite: Path) -> None:
    done = CliRunner().invoke(cli, ["compare", str(suite), str(suite), "--format", "json"], catch_exceptions=False)
    (found,) = json.loads(done.stdout)
    names = [point["point"] for point in found["points"]]
    assert names == [f"concurrency {load}, sweep {name}" for name in ("small", "large", "third") for load in LEVELS]
    assert {change["relative"] for point in found["points"] for change in point["changes"]} == {0.0}


@pytest.mark.lengthy
def test_a_suite_and_a_sweep_are_not_compared(suite: Path) -> None:
    done = CliRunner().invoke(cli, ["compare", str(suite), str(suite / "one/small")])
    assert "is a suite and" in str(done.exception)


def test_scores_name_the_points_of_one_sweep(suite: Path, tmp_path: Path) -> None:
    shown = CliRunner().invoke(cli, ["report", str(suite), "--score", str(tmp_path / "s.csv")])
    assert "name one of its sweeps" in str(shown.exception)


def test_one_of_its_sweeps_is_a_sweep_like_any_other(suite: Path) -> None:
    assert report(suite / "one/small").exit_code == 0
