"""The costs of a worker's hooks are measured without the time that the stand-ins take for cold caches."""

from collections.abc import Callable
from pathlib import Path

import pytest

from engine_probe.overhead.paired import PairedEstimate
from engine_probe.overhead.worker import (
    OUTPUT,
    Group,
    StandInWorker,
    hooked_worker,
    measure,
    measure_collective,
    passed_on,
)

Measure = Callable[[int, Path, Callable[[], None]], PairedEstimate]


def test_what_makes_the_caches_cold_is_not_counted() -> None:
    stand_in = StandInWorker()
    step_ns = min(stand_in.step_ns() for _ in range(20))
    assert 0 < step_ns < stand_in.model_runner.chilling_ns / 20


def test_hooks_that_pass_on_replace_what_ours_replace(tmp_path: Path) -> None:
    worker = StandInWorker()

    def replaced() -> set[str]:
        return vars(worker).keys() | vars(worker.model_runner).keys()

    before = replaced()
    with hooked_worker(worker, tmp_path):
        ours = replaced() - before
    (empty := tmp_path / "empty").mkdir()
    with passed_on(worker, empty):
        assert replaced() - before == {name for name in ours if not name.startswith("_engine_probe")}
        assert worker.execute_model(OUTPUT) is None
        assert worker.sample_tokens(None) == "tokens"
    assert replaced() == before


@pytest.mark.lengthy
@pytest.mark.parametrize(
    ("measured", "files"), [(measure, "worker/*/workers-0*"), (measure_collective, "collective/*/collectives-0*")]
)
def test_each_subject_is_hooked_for_half_of_the_pairs(measured: Measure, files: str, tmp_path: Path) -> None:
    ticks: list[None] = []
    found = measured(100, tmp_path, lambda: ticks.append(None))
    assert len(ticks) == 100
    assert 0 < found.low <= found.median <= found.high < 1e6
    assert len(list(tmp_path.glob(files))) == 2
    assert vars(StandInWorker()).keys() == {"model_runner"}
    assert "_all_reduce_out_place" not in vars(Group())
