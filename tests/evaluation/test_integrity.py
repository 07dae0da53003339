"""The answers of a sweep compared with those of its lowest load, and the step of each first divergent token."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine_probe.analysis.answers.integrity.request_verdicts import Kind
from engine_probe.evaluation.integrity import CurveIntegrity, figures, integrity
from engine_probe.recordings.sweep import load_sweep
from tests.support.answers.simulated_answers import normal
from tests.support.sweeps.answered_sweeps import EXACT, PROMPTS, Answered, cut, failed, without, write_answered_sweep

NOISE = normal(0.03)


def compared(folder: Path, *runs: Answered) -> CurveIntegrity:
    (found,) = integrity(load_sweep(write_answered_sweep(folder, runs)))
    return found


def test_the_reference_is_the_first_run_at_the_lowest_load(tmp_path: Path) -> None:
    found = compared(tmp_path, Answered(8, NOISE), Answered(1), Answered(1), Answered(32, NOISE))
    assert found.reference_load == 1
    assert [(level.load, level.runs, level.compared) for level in found.levels] == [
        (1, 1, PROMPTS),
        (8, 1, PROMPTS),
        (32, 1, PROMPTS),
    ]
    assert found.repeat is not None
    assert found.repeat.changed == 0


def test_divergences_come_with_the_step_that_made_them(tmp_path: Path) -> None:
    found = compared(tmp_path, Answered(1), Answered(32, NOISE, blocks=40))
    assert found.count(Kind.NEAR_TIE) == len(found.changes) >= 4
    assert found.faults == 0
    assert all(change.step is not None for change in found.changes)
    assert any(change.step.preemptions for change in found.changes if change.step)
    assert found.levels[0].preempted > 0
    assert 0 < max(change.step.kv_occupancy for change in found.changes if change.step) <= 1


def test_the_shortest_sequence_with_a_moved_margin_is_told(tmp_path: Path) -> None:
    """Noise is everywhere, so it moves the first token, behind a prompt of 48."""
    assert compared(tmp_path, Answered(1), Answered(32, NOISE)).first_moved == 48


def test_exact_answers_have_no_moved_margin(tmp_path: Path) -> None:
    found = compared(tmp_path, Answered(1), Answered(32))
    assert (found.changed, found.first_moved, found.changes) == (0, None, ())


def test_failed_requests_are_counted_apart(tmp_path: Path) -> None:
    found = compared(tmp_path, Answered(1), Answered(8, damage=failed(0, 1, 2)))
    (level,) = found.levels
    assert (level.kinds[Kind.FAILED], level.changed, level.compared) == (3, 0, PROMPTS)


def test_a_cut_answer_is_a_fault(tmp_path: Path) -> None:
    found = compared(tmp_path, Answered(1), Answered(8, damage=cut(5, 20)))
    (change,) = found.changes
    assert (change.comparison.kind, change.comparison.prompt_id, change.comparison.token) == (Kind.CUT_SHORT, "5", 20)
    assert found.faults == 1


def test_points_without_tokens_are_not_compared(tmp_path: Path) -> None:
    gone = without("token_ids", "logprobs", "second_token_ids", "second_logprobs")
    folder = write_answered_sweep(tmp_path, [Answered(1, damage=gone), Answered(8, damage=gone)])
    assert integrity(load_sweep(folder)) == []


def test_the_figures_name_each_changed_request(tmp_path: Path) -> None:
    told = figures(compared(tmp_path, Answered(1), Answered(8, EXACT, damage=cut(5, 20))))
    (request,) = told["requests"]
    assert (request["prompt_id"], request["kind"], request["first_divergent_token"]) == ("5", "cut short", 20)
    assert told["levels"][0]["kinds"]["identical"] == PROMPTS - 1
    assert told["levels"][0]["changed_interval"] == pytest.approx((0.00105, 0.2112), abs=1e-3)


def test_each_engine_of_a_point_is_held_against_the_first(tmp_path: Path) -> None:
    """Two engines at two loads; the second of them cut an answer at the higher one."""
    path = write_answered_sweep(tmp_path, [Answered(1), Answered(1), Answered(4), Answered(4, damage=cut(5, 9))])
    file = path / "sweep.json"
    document = json.loads(file.read_text())
    rows = []
    for load in (0, 2):
        for engine in (0, 1):
            (path / "points" / f"p{load + engine}").rename(path / "points" / f"c{load}-{engine}")
            place = path / "points" / f"c{load}"
            place.mkdir(exist_ok=True)
            (path / "points" / f"c{load}-{engine}").rename(place / f"replica-{engine + 1}")
        row = document["points"][load]
        rows.append(row | {"id": f"c{load}", "point": row["point"] | {"replicas": 2, "repeat": 0}})
    file.write_text(json.dumps(document | {"points": rows}))
    (found,) = integrity(load_sweep(path))
    assert [(level.load, level.runs, level.compared) for level in found.levels] == [
        (1, 1, PROMPTS),
        (4, 2, 2 * PROMPTS),
    ]
    (change,) = found.changes
    assert (change.point, change.comparison.kind) == ("c2", Kind.CUT_SHORT)
