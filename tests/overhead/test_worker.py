"""The cost of a worker's hook is measured without the time that the stand-in takes for cold caches."""

from pathlib import Path

from engine_probe.overhead import worker
from engine_probe.overhead.worker import Worker, measure


def test_what_makes_the_caches_cold_is_not_counted() -> None:
    stand_in = Worker()
    step_ns = min(stand_in.step_ns() for _ in range(20))
    assert 0 < step_ns < stand_in.model_runner.chilling_ns / 20


def test_each_worker_is_hooked_for_half_of_the_pairs(tmp_path: Path) -> None:
    ticks: list[None] = []
    found = measure(100, tmp_path, lambda: ticks.append(None))
    assert len(ticks) == 100
    assert 0 < found.low <= found.median <= found.high < 1e6
    rows = [sum(1 for _ in (tmp_path / f"worker-{half}").glob("workers-0*")) for half in (0, 1)]
    assert rows == [1, 1]
    assert vars(worker.Worker()).keys() == {"model_runner"}
