"""Run simulations of every part on several processes and count their claims."""

import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
from rich.console import Console
from rich.progress import Progress

from tools.calibration.claims import Claim, Part
from tools.calibration.comparisons import comparison
from tools.calibration.curves import curve_claims
from tools.calibration.load_effects import load_effect
from tools.calibration.occasions import occasions
from tools.calibration.simulated.sweeps import draw_sweep, sweep_plan
from tools.calibration.stops import stop
from tools.calibration.tally import Tally

CHUNK = 32  # simulations that a process does at a time
NICENESS = 10  # of the processes, unless they are nicer already

Simulate = Callable[[np.random.Generator, int], tuple[str, Iterable[Claim]]]


def curve(rng: np.random.Generator, index: int) -> tuple[str, Iterable[Claim]]:
    """Simulate one sweep."""
    shape, condition = sweep_plan(index)
    return condition, curve_claims(draw_sweep(rng, shape, condition))


# The simulation of a part, and how many are run for each sweep that is asked for.
SIMULATIONS: dict[Part, tuple[Simulate, float]] = {
    "curves": (curve, 1.0),
    "comparisons": (comparison, 0.3),
    "load effects": (load_effect, 0.1),
    "stops": (stop, 0.2),
    "occasions": (occasions, 0.3),
}


@dataclass(frozen=True)
class Chunk:
    """Some simulations of one part. Each has a random generator of its own, so that chunks do not matter."""

    part: Part
    seed: int
    first: int
    last: int

    def run(self) -> Tally:
        tally, (simulate, _) = Tally(), SIMULATIONS[self.part]
        number = list(SIMULATIONS).index(self.part)
        for index in range(self.first, self.last):
            condition, claims = simulate(np.random.default_rng([self.seed, number, index]), index)
            tally.add_cluster(condition, claims)
        return tally


def chunks(parts: Iterable[Part], sweeps: int, seed: int) -> list[Chunk]:
    """Return the work of all parts in turns, so that a run that is cut short has done some of each."""
    placed = []
    for part in parts:
        count = max(1, round(sweeps * SIMULATIONS[part][1]))
        for first in range(0, count, CHUNK):
            placed.append((first / count, Chunk(part, seed, first, min(count, first + CHUNK))))
    return [chunk for _, chunk in sorted(placed, key=lambda each: each[0])]


def measure(parts: Iterable[Part], sweeps: int, seed: int, processes: int = 1) -> tuple[Tally, float]:
    """Simulate and count. Return the tally and which share of the work is in it: less than one after Ctrl-C.

    The tally depends on the seed and not on the number of processes.
    """
    work, total, done = chunks(parts, sweeps, seed), Tally(), 0
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as progress:
        bar = progress.add_task("simulating", total=len(work))
        try:
            for tally in tallies(work, processes):
                total.add(tally)
                done += 1
                progress.advance(bar)
        except KeyboardInterrupt:
            pass
    return total, done / len(work)


def tallies(work: list[Chunk], processes: int) -> Iterator[Tally]:
    """Yield the tally of each chunk, in their order."""
    if processes == 1:
        yield from map(Chunk.run, work)
        return
    pool = ProcessPoolExecutor(processes, get_context("spawn"), initializer=begin)
    try:
        yield from pool.map(Chunk.run, work)
    finally:
        pool.shutdown(cancel_futures=True)


def begin() -> None:
    """Make a process nice, and leave Ctrl-C to the one that started it."""
    os.nice(max(0, NICENESS - os.nice(0)))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
