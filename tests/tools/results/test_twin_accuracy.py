from __future__ import annotations

from pathlib import Path

import pytest

from engine_probe.analysis.batch.prediction_interval import RATE
from engine_probe.engine.twin.step_times import Price, Spread, StepTimes
from engine_probe.sweep.definition.loader import read_sweep
from engine_probe.sweep.definition.sweep_file import points
from tools.results.twin.accuracy import FIGURES, Accuracy, Compared, Measured, coverage, document, drifts, verdict
from tools.results.twin.accuracy_points import ENGINES, SPEEDS, Engine, seed, sweep_text


def row(figure: str, predicted: float, low: float, high: float) -> Compared:
    measured = tuple(map(Measured, (102.0, 98.0, 104.0, 96.0)))
    return Compared("plain", "8 users", figure, measured, predicted, low, high)


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
def test_every_point_is_in_the_sweep_once_with_its_own_seed(engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "sweep.toml"
    file.write_text(sweep_text("smollm2", engine, range(len(engine.cases))))
    found = points(read_sweep(str(file)))
    assert [point.workload.seed for point in found] == [seed(engine, place) for place in range(len(engine.cases))]
    assert [point.workload.num_prompts for point in found] == [case.requests for case in engine.cases]


def test_a_faster_model_is_asked_as_much_more_so_that_its_recordings_last_as_long(tmp_path: Path) -> None:
    plain = ENGINES[0]
    found = []
    for model in ("smollm2", "tiny"):
        file = tmp_path / f"{model}.toml"
        file.write_text(sweep_text(model, plain, range(len(plain.cases))))
        found.append([point.workload for point in points(read_sweep(str(file)))])
    assert len(found[0]) == len(plain.cases)
    for slow, fast in zip(*found, strict=True):
        assert fast.num_prompts == SPEEDS["tiny"] * slow.num_prompts
    assert found[1][-2].arrivals.request_rate == SPEEDS["tiny"] * found[0][-2].arrivals.request_rate


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
def test_each_held_out_point_is_between_two_that_are_not(engine: Engine) -> None:
    assert [case.held_out for case in engine.cases] == [False, True] * (len(engine.cases) // 2) + [False]
    assert sum(case.fitted for case in engine.cases) == (6 if engine is ENGINES[0] else 0)


def test_drift_is_that_of_the_points_beside_it_and_of_nothing_held_out() -> None:
    """Two rounds: in the second the point before takes twice as long, the one after as long as in the first."""
    found = drifts(ENGINES[0], 1, {0: [1.0, 0.5], 1: [9.0, 1.0], 2: [1.1, 1.1]})
    assert found == pytest.approx([(1 / 1.5) ** 0.5, (2 / 1.5) ** 0.5])


def test_errors_are_medians_and_coverage_a_share() -> None:
    rows = [row(figure, 104.0, 97.0, 110.0) for figure in FIGURES] + [row("E2EL p50", 80.0, 70.0, 90.0)]
    assert coverage(rows) == pytest.approx(3 * len(FIGURES) / (4 * len(rows)))
    table = list(verdict(rows))
    assert "| E2EL p50 | 12.0% | 12.0% | 5.8% | 12.0% | 6.7% |" in table
    assert f"| {RATE} | 4.0% | 4.0% | 5.8% | 4.0% | 10.0% |" in table


@pytest.mark.parametrize(("figure", "predicted"), [("E2EL p50", 130.0), (RATE, 100 / 1.3)])
def test_an_error_that_is_all_the_machines_speed_is_none_without_it(figure: str, predicted: float) -> None:
    slow = row(figure, predicted, 50.0, 200.0)
    assert abs(slow.error) > 0.2
    assert slow.error_at_pace == slow.error_beside_anchors == slow.error
    paced = slow._replace(measured=(Measured(100.0, pace=1.3),) * 3)
    assert paced.error_at_pace == pytest.approx(0.0)
    drifted = slow._replace(measured=(Measured(100.0, drift=1 / 1.3),) * 3)
    assert drifted.error_beside_anchors == pytest.approx(0.0)


def test_the_page_names_command_commit_and_what_lies_outside() -> None:
    rows = [row(figure, 104.0, 90.0, 110.0) for figure in FIGURES] + [row(RATE, 80.0, 70.0, 90.0)]
    times = StepTimes({}, noise=Spread(0.05, 9.0), starts=Spread(0.2, 2.0), requests={"arrival": Price(250e3)})
    page = "\n".join(document({"tiny": Accuracy(rows, [], times)}, "abc1234", 4))
    assert "`python -m tools.results.twin.accuracy` at abc1234" in page
    assert "5.0% from recording to recording and 20.0% from start of the engine to start of the engine" in page
    assert "0.25 ms for each arrival" in page
    assert "| output tokens/s | 100 | 96 to 104 | 80 | -20.0% | -20.0% | 70 to 90 | 0 of 4 |" in page
