"""The time budget of `--quick`, a minute per device: every test leaves the later tests the time that they need.

On an idle machine all tests fit. On a busy one tests are shortened or left out, which the report lists.
"""

import math
from collections.abc import Iterator, Sequence

from kernels_bench.results import Figure, Skipped

MINUTE_S = 60.0  # for each device, and one more for the tests between devices
CLOSING_S = 8.0  # to start Python, and to judge, show and write the results
# The most that each test takes with --quick on an idle machine; earlier tests leave it free. Nothing is left free for
# the sustained run, because no other figure depends on it: it is the first test to be left out.
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


def until_ns(started_ns: float, minutes: int, test: str, tests: Sequence[str]) -> float:
    """Return when `test` must end so that the later ones of `tests` have their time before `minutes` are over."""
    later_s = sum(PLANNED_S[other] for other in tests[tests.index(test) + 1 :])
    return started_ns + (minutes * MINUTE_S - CLOSING_S - later_s) * 1e9


UNLIMITED = math.inf


def what_was_cut(finding: Figure | Skipped) -> Iterator[str]:
    """Say what the budget left out or shortened of one figure."""
    figure = f"{finding.test} {finding.name}"
    if isinstance(finding, Skipped):
        if finding.out_of_time:
            yield f"{figure} left out"
        return
    yield from (f"{figure} only {part}" for part in finding.measured_less)
    if finding.samples.shortened:
        rounds = len(finding.samples.rounds_ns)
        yield f"{figure} only {rounds} round{'s' * (rounds > 1)}"
