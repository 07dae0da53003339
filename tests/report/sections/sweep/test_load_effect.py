"""The effect of load in a sweep's report, through the command, with known answers and scores."""

from __future__ import annotations

import json
import shutil
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from engine_probe.analysis.compare.load_effect import Effect, Effects, OutcomeFigure
from engine_probe.commands.report import command
from engine_probe.evaluation.scores import read_scores
from engine_probe.recordings.sweep import open_sweep
from engine_probe.report.sections.sweep.load_effect import ANSWERS, caveats, load_effects, verdict
from tests.support.recordings.run_folders import facts, ran, write_run, write_sweep
from tests.support.recordings.small_tables import table as small

LEVELS = (1, 2, 4, 8, 12, 20)


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    return write_sweep(tmp_path / "sweep", LEVELS)


def report(*arguments: object) -> Result:
    return CliRunner().invoke(command, ["--verbose", *map(str, arguments)])


def told(sweep: Path, scores: Path | None = None) -> dict[str, Effect]:
    points = open_sweep(sweep).points
    read = read_scores(scores, {point.id for point in points}) if scores else None
    return {effect.outcome.name: effect for effect in load_effects(points, read).tested}


def keep_answers(sweep: Path, changed: dict[int, int]) -> None:
    """Every request's answer is its number; so many of a level are others."""
    for level in LEVELS:
        answers = {str(n): n + 1000 * (n < changed.get(level, 0)) for n in range(level)}
        (sweep / f"points/p{level}/answers.json").write_text(json.dumps(answers))


@pytest.mark.lengthy
def test_latency_rises_and_failures_cannot_be_ruled_out(sweep: Path) -> None:
    found = told(sweep)
    assert found["TTFT, median"].verdict == "rises"
    assert (found["requests not answered"].size, found["requests not answered"].verdict) == (0, "cannot tell")
    assert "answers that changed" not in found  # none were kept


@pytest.mark.lengthy
def test_answers_are_compared_with_those_of_one_load(sweep: Path) -> None:
    """The 8 requests of the highest load with two above it: at 12 all are as they were, at 20 one is not."""
    keep_answers(sweep, {})
    same = told(sweep)["answers that changed"]
    assert (same.lowest, same.highest, same.verdict) == (0, 0, "cannot tell")
    keep_answers(sweep, {20: 1})
    other = told(sweep)["answers that changed"]
    assert (other.lowest, other.highest) == (0, 0.125)


@pytest.mark.lengthy
def test_an_answer_that_only_the_lowest_load_gave_is_no_trend(tmp_path: Path) -> None:
    """Held against all requests of each load one of them would be a share that falls as they become more."""
    levels = (1, 30, 40, 50, 60, 70)
    sweep = write_sweep(tmp_path / "sweep", levels)
    for level in levels:
        answers = {str(n): n + 1000 * (level == 30 and n == 0) for n in range(level)}
        (sweep / f"points/p{level}/answers.json").write_text(json.dumps(answers))
    found = told(sweep)["answers that changed"]
    assert (found.lowest, found.highest, found.size, found.verdict) == (1 / 30, 1 / 30, 0, "cannot tell")


def test_only_answers_to_the_same_prompt_are_compared(tmp_path: Path) -> None:
    """At 20 the first two answers changed, of which the first has another prompt; one that was cut counts as none."""
    sweep = write_sweep(tmp_path / "sweep", LEVELS)
    for level in LEVELS:
        rows = [
            {
                "prompt_id": str(n),
                "prompt_crc32": 5 + (level == 20 and n == 0),
                "outcome": "deadline" if n == 7 else "answered",
                "answer_crc32": n + 1000 * (level == 20 and n < 2),
            }
            for n in range(level)
        ]
        shutil.rmtree(sweep / f"points/p{level}")
        write_run(sweep / f"points/p{level}", ran(level) | {"answers": small("answers", rows)}, facts())
    found = told(sweep)["answers that changed"]
    assert (found.lowest, found.highest) == (0, pytest.approx(1 / 6))  # of the 7 at load 8, one has another prompt


def test_damaged_answers_are_none(sweep: Path) -> None:
    for level in LEVELS:
        (sweep / f"points/p{level}/answers.json").write_text("[1, 2")
    assert "answers that changed" not in told(sweep)


def test_a_score_of_each_request_is_tested(sweep: Path, tmp_path: Path) -> None:
    lines = [f"p{level},{n},{1 - level / 100}" for level in LEVELS for n in range(level)]
    (tmp_path / "quality.csv").write_text("\n".join(["point,request_id,faithfulness", *lines]))
    found = told(sweep, tmp_path / "quality.csv")["faithfulness"]
    assert (round(found.lowest, 2), round(found.highest, 2), round(found.size, 2)) == (0.99, 0.8, -1)
    assert found.verdict == "falls"


@pytest.mark.lengthy
def test_a_score_of_each_point_as_json(sweep: Path, tmp_path: Path) -> None:
    (tmp_path / "bleu.json").write_text(json.dumps({f"p{level}": level for level in LEVELS}))
    found = told(sweep, tmp_path / "bleu.json")["bleu"]
    assert (found.lowest, found.highest, found.verdict) == (1, 20, "rises")
    page = tmp_path / "page.html"
    shown = report(sweep, "--score", tmp_path / "bleu.json", "--html", page)
    assert shown.exit_code == 0
    for text in (shown.output, page.read_text()):
        assert "Bleu" in text


def effect(**values: Any) -> Effect:
    """A trend of the TTFT that is significant, but for what is given."""
    given: dict[str, Any] = {
        "outcome": OutcomeFigure("TTFT, median", "ms"),
        "runs": 6,
        "loads": 3,
        "repeats": 2,
        "size": 0.9,
        "p": 0.01,
        "lowest": 10.0,
        "highest": 20.0,
        "delta": None,
        "furthest": None,
    }
    return Effect(**given | values)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "rises with load"),
        ({"size": -0.9}, "falls with load"),
        ({"in_order": True}, "rises with load or with time"),
        (
            {"p": 1.0, "furthest": (-0.02, 0.05)},
            "not different: -2.0% to +5.0% against the lowest load (90%), and 10% is the limit for 'no effect'",
        ),
        (
            {"p": 1.0, "outcome": ANSWERS, "bound": 0.03},
            "not different: no change seen; up to 3.0% possible (95%), and 5% is the limit for 'no effect'",
        ),
        ({"p": 1.0}, "undecided: repeat every load, in rounds, to test for a change below 10%"),
    ],
)
def test_the_words_of_a_verdict(values: dict[str, Any], words: str) -> None:
    assert verdict(effect(**values)) == words


def test_answers_are_explained_only_where_they_are_tested() -> None:
    answers = Effects((effect(), effect(outcome=ANSWERS)), (), ())
    assert list(caveats(answers))[-1] == (
        "Answers are compared with those of the lowest load that has enough of them. Sums in BF16 and FP16 depend on "
        "which requests share a batch, so some answers change without a fault: repeats of that load show how many."
    )
    assert not any("Answers" in line for line in caveats(Effects((effect(),), (), ())))


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("a.csv", "point,quality\np99,1", "this sweep has no point 'p99'"),
        ("a.csv", "point,quality\np1,good", "line 2: quality is 'good', expected a number"),
        ("a.csv", "point,quality\np1,nan", "expected a finite number"),
        ("a.csv", "request,quality\n1,1", "no column point"),
        ("a.csv", "point\np1", "no column of scores"),
        ("a.json", "[1]", "give CSV with point"),
        ("a.json", "{}", "holds no score"),
        ("none.csv", None, "there is no file"),
    ],
)
def test_a_score_that_cannot_be_read_is_refused(
    sweep: Path, tmp_path: Path, name: str, text: str | None, why: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    result = report(sweep, "--score", tmp_path / name)
    assert result.exit_code != 0
    assert why in str(result.exception)


def test_whiskers_end_at_the_possible_extremes() -> None:
    """Shares of 0.9 and 1: their interval with 95 % is 0.95 ± 0.64, and no pool is fuller than full."""
    from types import SimpleNamespace

    from engine_probe.report.charts.level_means import over_loads

    shares = ((4, 0.9), (8, 0.5), (4, 1.0), (8, 0.5))
    points: Any = [SimpleNamespace(load=load, share=share, started_ns=at) for at, (load, share) in enumerate(shares)]
    drawn = over_loads([4, 8], points, attrgetter("share"), 100, most=1)
    assert (drawn["low"][0], drawn["high"][0]) == (pytest.approx(31.47, abs=0.01), 100)
