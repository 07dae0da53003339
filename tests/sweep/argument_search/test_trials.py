"""A search as a sweep runs it, on simulated engines: its rows, its repeats, its failures, and how it is resumed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from optuna.samplers import TPESampler

from engine_probe.analysis.compare.argument_trials import best_of
from engine_probe.errors import InputError
from engine_probe.evaluation.money.costs import Money
from engine_probe.files.config_file import convert
from engine_probe.recordings.argument_trials import trials_of
from engine_probe.recordings.sweep import open_sweep
from engine_probe.report.renderers.json import sweep_figures
from engine_probe.report.sweep_report import sweep_document
from engine_probe.sweep.argument_search import suggest
from engine_probe.sweep.argument_search.search_checks import check_search
from engine_probe.sweep.definition.sweep_file import SECTIONS, Point, SweepFile, points
from engine_probe.sweep.execution.events import BestSoFar, Event, MeasuredBefore
from engine_probe.sweep.execution.planned_point import EngineStartError, Measurement, PlannedPoint
from engine_probe.sweep.execution.runner import SweepRun
from engine_probe.sweep.results.point_results import row_at
from tests.support.recordings.run_folders import facts, ran, write_run

FILE: dict[str, Any] = {
    "question": "Which arguments?",
    "engine": {"model": "tiny", "arguments": {"max_num_seqs": 2, "num_gpu_blocks_override": 60, "block_size": 16}},
    "workload": {"input_len": 48, "output_len": 40, "concurrency": 16, "num_prompts": 16},
    "search": {
        "kind": "engine_arguments",
        "trials": 7,
        "confirm": 2,
        "arguments": {
            "max_num_seqs": {"low": 1, "high": 24, "log": True},
            "num_gpu_blocks_override": {"low": 8, "high": 120},
        },
    },
}

FEW_START: dict[str, Any] = {  # most of these numbers of sequences are more than start
    "arguments": {"max_num_seqs": {"low": 1, "high": 60}, "num_gpu_blocks_override": {"low": 60, "high": 120}}
}


class SimulatedEngines:
    """Records what a simulated engine does with the arguments of a point; more than 24 sequences cannot start."""

    def __init__(self, stop_after: int = 1000) -> None:
        self.started: list[Point] = []
        self._stop_after = stop_after

    def engines(self, *_: Any) -> list[SimulatedEngines]:
        return [self]

    def measure(self, planned: PlannedPoint, show: Any) -> Measurement:
        if len(self.started) == self._stop_after:
            raise KeyboardInterrupt
        self.started.append(planned.point)
        arguments = planned.point.engine.arguments
        seqs, blocks = arguments["max_num_seqs"], arguments["num_gpu_blocks_override"]
        if seqs > 24:
            raise EngineStartError("out of memory", 3)
        load = int(planned.point.load)
        write_run(planned.folder, ran(load, blocks=blocks, seqs=seqs), facts(blocks=blocks, seqs=seqs))
        return Measurement(row_at(planned.folder, planned.point))

    def close(self) -> None:
        pass

    def run_groups(self, groups: Any) -> None:
        for group in groups:
            group()


def sweep_of(**changes: Any) -> SweepFile:
    document = {**FILE, "search": {**FILE["search"], **changes}}
    sweep = convert(document, SweepFile, SECTIONS)
    check_search(sweep)
    return sweep


def run(sweep: SweepFile, folder: Path, engines: SimulatedEngines) -> list[Event]:
    events: list[Event] = []
    folder.mkdir(exist_ok=True)
    SweepRun(sweep, folder, [], lambda event, group: events.append(event), engines, force=True).run()
    return events


def rows(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "sweep.json").read_text())["points"]
    return found


@pytest.fixture(scope="module", autouse=True)
def quick_suggestions() -> Iterator[None]:
    """Suggestions by Optuna's quick sampler: a Gaussian process takes a second for each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(suggest, "sampler", lambda seed: TPESampler(seed=seed, n_startup_trials=4))
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SimulatedEngines, list[Event]]:
    folder, engines = tmp_path_factory.mktemp("search") / "out", SimulatedEngines()
    return folder, engines, run(sweep_of(), folder, engines)


@pytest.mark.lengthy
def test_the_baseline_comes_first_and_is_repeated_in_turns_with_the_best(whole: Any) -> None:
    folder, engines, _ = whole
    asked = [(point.engine.arguments["max_num_seqs"], point.repeat) for point in engines.started]
    assert asked[0] == (2, 0)
    best = asked[-1][0] if asked[-1][0] != 2 else asked[-2][0]
    assert asked[-4:] == [(2, 1), (best, 1), (best, 2), (2, 2)]
    assert rows(folder)[0]["point"]["label"] == "baseline"
    assert len({row["id"] for row in rows(folder)}) == 7 + 4


@pytest.mark.lengthy
def test_it_beats_the_baseline_and_the_report_says_by_how_much(whole: Any) -> None:
    """A simulated engine does not vary, so that the gain is exactly that of the two measurements."""
    swept = open_sweep(whole[0])
    found = trials_of(swept)
    assert found is not None
    assert found.challenger is best_of(found.trials)
    assert found.gain is not None
    assert found.gain.relative == pytest.approx(found.challenger.value / found.first.value - 1)
    assert found.gain.relative > 0.5
    words = " ".join(sentence.text for sentence in sweep_document(swept, []).verdict.sentences)
    assert "7 settings tried" in words


@pytest.mark.lengthy
def test_json_has_every_trial_and_the_gain(whole: Any) -> None:
    figures = json.loads(sweep_figures(open_sweep(whole[0]), [], Money(None, (), (), None)))["argument_search"]
    assert len(figures["trials"]) == 11
    assert figures["baseline"] == {"max_num_seqs": 2, "num_gpu_blocks_override": 60}
    assert figures["gain"]["relative"] > 0.5
    assert figures["unit"] == "output tokens/s"


def test_the_best_so_far_is_shown_after_each_trial(whole: Any) -> None:
    shown = [event for event in whole[2] if isinstance(event, BestSoFar)]
    values = [event.value for event in shown]
    assert [event.trials for event in shown] == list(range(1, 8))
    assert values == sorted(values)
    assert shown[0].setting == "baseline"
    assert shown[-1].gain == pytest.approx(values[-1] / values[0] - 1)


@pytest.mark.lengthy
@pytest.mark.parametrize("after", [3, 9])
def test_a_resumed_search_asks_for_what_an_uninterrupted_one_asked_for(whole: Any, tmp_path: Path, after: int) -> None:
    folder = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run(sweep_of(), folder, SimulatedEngines(stop_after=after))
    engines = SimulatedEngines()
    events = run(sweep_of(), folder, engines)
    assert sum(isinstance(event, MeasuredBefore) for event in events) >= after - 2
    assert [row["id"] for row in rows(folder)] == [row["id"] for row in rows(whole[0])]
    assert len(engines.started) == len(whole[1].started) - after


@pytest.mark.lengthy
def test_settings_that_cannot_run_are_rows_and_are_not_tried_again(tmp_path: Path) -> None:
    """Fewer than 6 blocks hold no request, which is known without an engine; more than 24 sequences do not start."""
    sweep = sweep_of(arguments={"max_num_seqs": {"choices": [1, 25]}, "num_gpu_blocks_override": {"choices": [6, 60]}})
    engines = SimulatedEngines()
    run(sweep, tmp_path, engines)
    failed = {row["point"]["label"]: row["reason"] for row in rows(tmp_path) if row["status"] == "failed"}
    assert sum("out of memory" in reason for reason in failed.values()) == 1
    assert sum("the pool holds 80" in reason for reason in failed.values()) == 2
    assert not any(point.engine.arguments["num_gpu_blocks_override"] == 6 for point in engines.started)
    again = SimulatedEngines()
    run(sweep, tmp_path, again)
    assert again.started == []
    found = trials_of(open_sweep(tmp_path))
    assert found is not None
    assert len(found.failed) == 3


def ended_earlier(folder: Path) -> None:
    """Write a search whose number of trials counts those that could not run, as in versions that replaced none."""
    run(sweep_of(**FEW_START, trials=3), folder, SimulatedEngines())
    document = json.loads((folder / "sweep.json").read_text())
    document["sweep"]["search"]["trials"] = sum(not row["point"]["repeat"] for row in document["points"])
    (folder / "sweep.json").write_text(json.dumps(document))


@pytest.mark.lengthy
def test_a_search_of_an_earlier_version_that_ended_stays_so(tmp_path: Path) -> None:
    """There a setting that could not run was one of the trials; more trials than it had go on from it."""
    ended_earlier(tmp_path)
    before = rows(tmp_path)
    tried = sum(not row["point"]["repeat"] for row in before)
    assert tried > 3
    again, more = SimulatedEngines(), SimulatedEngines()
    run(sweep_of(**FEW_START, trials=tried), tmp_path, again)
    assert again.started == []
    assert [row["id"] for row in rows(tmp_path)] == [row["id"] for row in before]
    run(sweep_of(**FEW_START, trials=tried + 1), tmp_path, more)
    assert more.started != []


@pytest.mark.lengthy
def test_more_trials_go_on_from_those_that_are_there(whole: Any, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    run(sweep_of(trials=4, confirm=0), folder, SimulatedEngines())
    engines = SimulatedEngines()
    run(sweep_of(trials=7, confirm=0), folder, engines)
    assert [point.key for point in engines.started] == [row["id"] for row in rows(whole[0])[4:7]]


@pytest.mark.lengthy
def test_a_resumed_search_keeps_its_settings_where_others_would_be_suggested(
    whole: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after an update of the library that suggests them."""
    with pytest.raises(KeyboardInterrupt):
        run(sweep_of(), tmp_path, SimulatedEngines(stop_after=5))
    before = [row["id"] for row in rows(tmp_path)]
    monkeypatch.setattr(suggest, "START_EACH", 0)
    engines = SimulatedEngines()
    run(sweep_of(seed=9), tmp_path, engines)
    assert [row["id"] for row in rows(tmp_path)][: len(before)] == before
    assert len(engines.started) == len(whole[1].started) - 5


@pytest.mark.lengthy
def test_a_setting_that_cannot_run_is_replaced_but_not_for_ever(tmp_path: Path) -> None:
    """More than 24 sequences do not start: with trials = 4, the third of them ends the search."""
    spans = {
        "max_num_seqs": {"choices": [1, 25, 26, 27, 28, 29]},
        "num_gpu_blocks_override": {"low": 60, "high": 61},
    }
    run(sweep_of(arguments=spans, trials=4, confirm=0), tmp_path, SimulatedEngines())
    found = trials_of(open_sweep(tmp_path))
    assert found is not None
    assert len(found.failed) == 3
    assert len(found.searched) - len(found.failed) < 4


def test_a_folder_of_another_workload_is_refused(tmp_path: Path) -> None:
    run(sweep_of(trials=2, confirm=0), tmp_path, SimulatedEngines())
    other = convert({**FILE, "workload": {**FILE["workload"], "seed": 5}}, SweepFile, SECTIONS)
    with pytest.raises(InputError, match="holds 2 finished points that this sweep does not ask"):
        run(other, tmp_path, SimulatedEngines())


@pytest.mark.lengthy
def test_the_slo_decides_what_is_best(tmp_path: Path) -> None:
    """With a limit just below what the fastest setting needs, another one is the best."""
    run(sweep_of(slo={"tpot_ms": 1.0}, confirm=0), tmp_path / "all", SimulatedEngines())
    everything = trials_of(open_sweep(tmp_path / "all"))
    assert everything is not None
    assert best_of(everything.trials) is None
    fastest = max((trial for trial in everything.trials if trial.score), key=lambda trial: trial.value)
    assert fastest.score is not None
    assert fastest.score.strain is not None
    run(sweep_of(slo={"tpot_ms": fastest.score.strain * 0.99}, confirm=0), tmp_path / "some", SimulatedEngines())
    found = trials_of(open_sweep(tmp_path / "some"))
    assert found is not None
    assert best_of(found.trials) is not None
    assert best_of(found.trials).score is not None
    assert best_of(found.trials).score.strain is not None
    assert best_of(found.trials).score.strain <= 1
    assert fastest.name not in {trial.name for trial in found.trials if trial.is_feasible}


def test_its_points_are_one_for_the_checks_before_it_starts() -> None:
    (base,) = points(sweep_of())
    assert base.engine.arguments["max_num_seqs"] == 2


LOADS: dict[str, Any] = {
    "axis": "workload.concurrency",
    "from": 8,
    "to": 64,
    "goal": "slo",
    "resolution": 0.5,
}


def searched_loads(e2el_ms: float = 1e9, **changes: Any) -> SweepFile:
    work = {"input_len": 48, "output_len": 40, "num_prompts": 64}
    adaptive = {**LOADS, "slo": {"e2el_ms": e2el_ms, "percentile": 50}}
    document = {**FILE, "workload": work, "adaptive": adaptive, "search": {**FILE["search"], "trials": 4, **changes}}
    sweep = convert(document, SweepFile, SECTIONS)
    check_search(sweep)
    return sweep


@pytest.fixture(scope="module")
def with_loads(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SimulatedEngines]:
    folder, engines = tmp_path_factory.mktemp("loads") / "out", SimulatedEngines()
    run(searched_loads(), folder, engines)
    return folder, engines


@pytest.mark.lengthy
def test_the_load_of_each_trial_is_searched_on_its_engine(with_loads: Any) -> None:
    folder, engines = with_loads
    (found,) = [trials_of(open_sweep(folder))]
    assert found is not None
    assert len(found.searched) == 4
    searched = [point for point in engines.started if not point.repeat]
    for trial in found.searched:
        loads = [point.load for point in searched if dict(point.curve) == dict(trial.setting)]
        assert loads[:2] == [8, 16]
        assert trial.load in [f"concurrency {load:g}" for load in loads]


@pytest.mark.lengthy
def test_the_best_load_of_a_setting_is_what_is_repeated(with_loads: Any) -> None:
    folder, engines = with_loads
    found = trials_of(open_sweep(folder))
    assert found is not None
    assert found.challenger is not None
    assert found.gain is not None
    repeated = {(point.label.rpartition(",")[0], point.repeat) for point in engines.started if point.repeat}
    assert len(repeated) == 4
    assert {label for label, _ in repeated} == {
        f"baseline, {found.first.load}",
        ", ".join([*(f"{name} {value}" for name, value in found.challenger.setting.items()), found.challenger.load]),
    }


@pytest.mark.lengthy
def test_a_limit_ends_the_search_for_the_load_of_a_setting(with_loads: Any, tmp_path: Path) -> None:
    first = next(point for point in open_sweep(with_loads[0]).points if point.load == 8)
    assert first.analysis is not None
    median_ns = first.analysis.summary.e2el.percentiles_ns[50]
    assert median_ns is not None
    engines = SimulatedEngines()
    run(searched_loads(1.5 * median_ns / 1e6), tmp_path, engines)
    found = trials_of(open_sweep(tmp_path))
    assert found is not None
    assert found.first.is_feasible
    baseline = [point.load for point in engines.started if point.label.startswith("baseline") and not point.repeat]
    assert max(baseline) == 16  # twice the load takes twice as long
    words = " ".join(sentence.text for sentence in sweep_document(open_sweep(tmp_path), []).verdict.sentences)
    assert f"at {best_of(found.trials).load if best_of(found.trials) else None}" in words


@pytest.mark.lengthy
@pytest.mark.parametrize("after", [2, 9])
def test_a_search_with_loads_is_resumed_in_the_middle_of_a_trial(with_loads: Any, tmp_path: Path, after: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(searched_loads(), tmp_path, SimulatedEngines(stop_after=after))
    engines = SimulatedEngines()
    run(searched_loads(), tmp_path, engines)
    assert [row["id"] for row in rows(tmp_path)] == [row["id"] for row in rows(with_loads[0])]
    assert len(engines.started) == len(with_loads[1].started) - after


@pytest.mark.lengthy
def test_a_setting_whose_engine_does_not_start_ends_its_loads(tmp_path: Path) -> None:
    spans = {"max_num_seqs": {"choices": [1, 25]}, "num_gpu_blocks_override": {"choices": [60, 61]}}
    run(searched_loads(arguments=spans), tmp_path, SimulatedEngines())
    found = trials_of(open_sweep(tmp_path))
    assert found is not None
    assert {trial.setting["max_num_seqs"] for trial in found.failed} == {25}
    failed = [row for row in rows(tmp_path) if row["status"] == "failed"]
    assert len(failed) == len(found.failed)
    again = SimulatedEngines()
    run(searched_loads(arguments=spans), tmp_path, again)
    assert again.started == []
