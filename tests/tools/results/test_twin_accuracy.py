from __future__ import annotations

from pathlib import Path

import pytest

from engine_probe.analysis.batch.prediction_interval import RATE
from engine_probe.engine.twin.step_times import Price, Spread, StepTimes
from engine_probe.sweep.definition.loader import read_sweep
from engine_probe.sweep.definition.sweep_file import points
from tools.results.twin.accuracy import FIGURES, Accuracy, Compared, coverage, document, verdict
from tools.results.twin.accuracy_points import ENGINES, SPEEDS, seed, sweep_text


def row(figure: str, predicted: float, low: float, high: float) -> Compared:
    return Compared("plain", "8 users", figure, 100.0, 97.0, predicted, low, high)


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
def test_every_point_is_in_the_sweep_once_with_its_own_seed(engine: object, tmp_path: Path) -> None:
    assert engine in ENGINES
    file = tmp_path / "sweep.toml"
    file.write_text(sweep_text("smollm2", engine, engine.cases))
    found = points(read_sweep(str(file)))
    assert [point.workload.seed for point in found] == [seed(engine, case) for case in engine.cases]
    assert [point.workload.num_prompts for point in found] == [case.requests for case in engine.cases]


def test_a_faster_model_is_asked_as_much_more_so_that_its_recordings_last_as_long(tmp_path: Path) -> None:
    plain = ENGINES[0]
    found = []
    for model in ("smollm2", "tiny"):
        file = tmp_path / f"{model}.toml"
        file.write_text(sweep_text(model, plain, plain.cases))
        found.append([point.workload for point in points(read_sweep(str(file)))])
    assert len(found[0]) == len(plain.cases)
    for slow, fast in zip(*found, strict=True):
        assert fast.num_prompts == SPEEDS["tiny"] * slow.num_prompts
    assert found[1][-1].arrivals.request_rate == SPEEDS["tiny"] * found[0][-1].arrivals.request_rate


def test_points_for_the_fit_and_held_out_ones_take_turns() -> None:
    plain, *others = ENGINES
    assert [case.fitted for case in plain.cases] == [True, False] * 6
    assert not any(case.fitted for engine in others for case in engine.cases)


def test_errors_are_medians_and_coverage_a_share() -> None:
    rows = [row(figure, 104.0, 90.0, 110.0) for figure in FIGURES] + [row("E2EL p50", 80.0, 70.0, 90.0)]
    assert coverage(rows) == pytest.approx(len(FIGURES) / len(rows))
    table = list(verdict(rows))
    assert "| E2EL p50 | 12.0% | 6.7% | 3.0% | 12.0% |" in table
    assert f"| {RATE} | 4.0% | 10.0% | 3.0% | 4.0% |" in table


@pytest.mark.parametrize(("figure", "predicted"), [("E2EL p50", 130.0), (RATE, 100 / 1.3)])
def test_an_error_that_is_all_the_machines_speed_is_none_at_its_pace(figure: str, predicted: float) -> None:
    slow = row(figure, predicted, 50.0, 200.0)._replace(pace=1.3)
    assert abs(slow.error) > 0.2
    assert slow.error_at_pace == pytest.approx(0.0)


def test_the_page_names_command_commit_and_what_lies_outside() -> None:
    rows = [row(figure, 104.0, 90.0, 110.0) for figure in FIGURES] + [row(RATE, 80.0, 70.0, 90.0)]
    times = StepTimes({}, noise=Spread(0.05, 9.0), starts=Spread(0.2, 2.0), requests={"arrival": Price(250e3)})
    page = "\n".join(document({"tiny": Accuracy(rows, [], times)}, "abc1234"))
    assert "`python -m tools.results.twin.accuracy` at abc1234" in page
    assert "5.0% from recording to recording and 20.0% from start of the engine to start of the engine" in page
    assert "0.25 ms for each arrival" in page
    assert "| plain | 8 users | output tokens/s | 100 | 97 | 80 | -20.0% | 70 to 90 | outside |" in page
