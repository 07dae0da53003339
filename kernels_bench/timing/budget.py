"""How `--quick` keeps to a minute per device: every test leaves the tests after it the time that they need.

On a machine that is idle no test comes near its end. On a busy one the tests are shortened, and what does not fit is
left out; both are listed in the report.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from kernels_bench.results import Figure, Skipped

MINUTE_S = 60.0  # for each device, and one more for the tests between devices
CLOSING_S = 8.0  # to start Python, and to judge, show and write what was measured
# What each test takes with --quick where nothing else runs, at most: it is kept free for the tests still to come. For
# the sustained run nothing is kept free: no other figure rests on it, so it is the first to be left out.
PLANNED_S = {
    "memory": 10.0,
    "gemm": 12.0,
    "attention": 4.0,
    "launch": 1.0,
    "pcie": 5.0,
    "sustained": 0.0,
    "p2p": 30.0,
    "allreduce": 20.0,
}
LEFT_OUT = "left out: the minute of --quick was over"


def until_ns(begun_ns: float, minutes: int, test: str, tests: Sequence[str]) -> float:
    """Return when `test` has to end, so that the later ones of `tests` have their time before `minutes` are over."""
    later = sum(PLANNED_S[other] for other in tests[tests.index(test) + 1 :])
    return begun_ns + (minutes * MINUTE_S - CLOSING_S - later) * 1e9


UNLIMITED = math.inf


def what_was_cut(finding: Figure | Skipped) -> Iterator[str]:
    """Say what the budget left out or shortened of one figure; nothing where it had its time."""
    what = f"{finding.test} {finding.name}"
    if isinstance(finding, Skipped):
        if finding.out_of_time:
            yield f"{what} left out"
        return
    yield from (f"{what} only {part}" for part in finding.measured_less)
    if finding.samples.shortened:
        rounds = len(finding.samples.rounds_ns)
        yield f"{what} only {rounds} round{'s' * (rounds > 1)}"
