"""The engines of a sweep on the machines of a cluster, side by side. Ctrl-C ends them in `Fleet.run_groups`."""

import concurrent.futures
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path

from engine_probe.engine.parallelism import rank_count
from engine_probe.sweep.definition.sweep_file import EngineSection
from engine_probe.sweep.execution.engine_run import TICK_SECONDS, EngineLimits
from engine_probe.sweep.fleet.fleet_engine import PATIENCE_SECONDS, FleetEngine, Machines
from engine_probe.sweep.fleet.machine_cluster import Calls, LiveNodes, MachineCluster
from engine_probe.sweep.fleet.placing_order import LargestFirst


class Fleet:
    """The `Engines` of a sweep that runs on a cluster."""

    def __init__(self, cluster: MachineCluster, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._calls = Calls(cluster)
        self._machines = Machines(cluster, LiveNodes(cluster), self._calls, patience_seconds)

    def engines(
        self, engines: Sequence[EngineSection], folder: Path, force: bool, limits: Sequence[EngineLimits]
    ) -> Sequence[FleetEngine]:
        order = LargestFirst([rank_count(engine.arguments) for engine in engines])
        return [
            FleetEngine(self._machines, engine, folder, force, own, order, number)
            for number, (engine, own) in enumerate(zip(engines, limits, strict=True))
        ]

    def run_groups(self, groups: Sequence[Callable[[], None]], side_by_side: bool = True) -> None:
        """Run each engine group in a thread of its own, and return when all have ended.

        Groups that are not to run side by side, because they need several machines at the same time, share one thread.

        Ctrl-C, or an error in one group, ends all engines at once: each thread stops waiting for its machine, fetches
        what its engine recorded, and ends. A second Ctrl-C does not wait for that.
        """
        left: set[Future[None]] = set()
        try:
            left.update(map(in_a_thread, groups if side_by_side else [partial(one_by_one, groups)]))
            while left:
                ended, left = concurrent.futures.wait(left, TICK_SECONDS, concurrent.futures.FIRST_COMPLETED)
                for group in ended:
                    group.result()
        finally:
            self._calls.stop()
            while left:  # ticks, because Ctrl-C may be delivered to another thread, which does not end this one's wait
                left = concurrent.futures.wait(left, TICK_SECONDS).not_done


def one_by_one(groups: Sequence[Callable[[], None]]) -> None:
    for group in groups:
        group()


def in_a_thread(group: Callable[[], None]) -> Future[None]:
    """Start the group. The thread is a daemon, so that a second Ctrl-C ends the command."""
    ended: Future[None] = Future()

    def run() -> None:
        try:
            group()
        except BaseException as error:
            ended.set_exception(error)
        else:
            ended.set_result(None)

    threading.Thread(target=run, daemon=True).start()
    return ended
