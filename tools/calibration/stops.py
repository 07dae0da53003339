"""What is concluded from the steps of a simulated run: its settled rate, and when `[stop] steady` ends it.

Steps give the same number of tokens; their durations vary around a mean, neighbours alike, so that the long-run rate is
known exactly. A warm-up makes the first steps longer or shorter.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from engine_probe.analysis.statistics.arrays import Integers, Reals
from engine_probe.analysis.statistics.settled_rate import settled_rate
from engine_probe.record.recorder import READINGS, Recorder
from engine_probe.sweep.engine_process.steady_stop import COLLECT_NS, SteadyStop
from engine_probe.workload.stop import Steady
from tools.calibration.claims import Claim
from tools.calibration.simulated.shapes import between

TOKENS, STEP_NS = 32, 20_000_000
RATE = TOKENS / STEP_NS * 1e9  # tokens per second in the long run
WITHIN = 0.05
LONGEST_S = 120
IN_FLIGHT, ANSWER_NS = 8, 100_000_000  # an answer comes every tenth of a second
SHORTEST = 0.1  # of a mean step

# How long neighbours are alike: the time constant of the correlation, in seconds.
MEMORIES = {"alike for 0.05 to 0.5 s": (0.05, 0.5), "alike for 0.5 to 5 s": (0.5, 5.0)}


@dataclass(frozen=True)
class Steps:
    """The steps of a run; it begins at 0 ns."""

    ends_ns: Integers

    @property
    def tokens(self) -> Integers:
        return np.full(len(self.ends_ns), TOKENS)


def draw_steps(rng: np.random.Generator, seconds: float, memory_s: float, warm_up_s: float, depth: float) -> Steps:
    """Draw steps for a time. A warm-up adds a share to the first step that decays with a time constant."""
    count = int(seconds * 1e9 / STEP_NS)
    deviation, own = between(rng, 0.02, 0.2), between(rng, 0.02, 0.1)
    varying = 1 + deviation * correlated(rng, count, memory_s * 1e9 / STEP_NS) + own * rng.standard_normal(count)
    warm_up = 1 + depth * np.exp(-np.arange(count) * STEP_NS / 1e9 / warm_up_s)
    durations = STEP_NS * np.maximum(SHORTEST, varying) * warm_up
    return Steps(np.cumsum(durations).astype(np.int64))


def correlated(rng: np.random.Generator, count: int, memory: float) -> Reals:
    """Draw a stationary first-order process of variance one that forgets with a time constant, in steps."""
    kept = float(np.exp(-1 / memory))
    shocks = rng.standard_normal(count) * np.sqrt(1 - kept**2)
    values = np.empty(count)
    value = float(rng.standard_normal())
    for number, shock in enumerate(shocks.tolist()):
        value = kept * value + shock
        values[number] = value
    return values


def stop(rng: np.random.Generator, index: int) -> tuple[str, list[Claim]]:
    """Simulate three runs: of a length set beforehand, with a long warm-up, and until the rule ends it."""
    condition = list(MEMORIES)[index % len(MEMORIES)]
    memory = between(rng, *MEMORIES[condition])
    seconds = between(rng, 20.0, 80.0)
    depth = rng.uniform(0.2, 0.5) * rng.choice((-1.0, 1.0))
    return condition, [
        *length_claims(draw_steps(rng, seconds, memory, 0.02 * seconds, depth), "length set beforehand"),
        *length_claims(draw_steps(rng, seconds, memory, rng.uniform(0.2, 0.4) * seconds, depth), "long warm-up"),
        *stop_claims(draw_steps(rng, LONGEST_S, memory, 1.0, depth)),
    ]


def length_claims(steps: Steps, which: str) -> Iterator[Claim]:
    rate = settled_rate(0, steps.ends_ns, steps.tokens)
    contains = None if rate is None else abs(rate.per_second - RATE) <= rate.half_width
    yield Claim(f"interval of a settled rate, {which}", contains)
    yield Claim(f"warm-up told, {which}", rate is None or rate.warming_up)


def stop_claims(steps: Steps) -> Iterator[Claim]:
    """Yield what the rule says of a run that it ended; it looks as often as the driver asks it to."""
    stopped = rate_when_stopped(steps)
    yield Claim("stopped by [stop] steady within two minutes", stopped is not None)
    if stopped is not None:
        rate, half_width = stopped
        yield Claim("interval when stopped by [stop] steady", abs(rate - RATE) <= half_width)
        yield Claim("off by more than was asked for when stopped", abs(rate / RATE - 1) > WITHIN)


def rate_when_stopped(steps: Steps) -> tuple[float, float] | None:
    """Let `[stop] steady` watch a run. Return the rate and the half width with which it ended it."""
    recorder, clock = Recorder(), Clock()
    rule = SteadyStop(Steady(within=WITHIN), recorder, clock)
    finished = list(range(ANSWER_NS, int(steps.ends_ns[-1]), ANSWER_NS))
    while clock.now_ns < steps.ends_ns[-1]:
        clock.now_ns += COLLECT_NS
        record(steps, clock.now_ns, recorder)
        if rule(finished[: clock.now_ns // ANSWER_NS], IN_FLIGHT):
            rate = rule.steadiness().rate
            return rate and (rate.output_tokens_per_s, rate.half_width)
    return None


@dataclass
class Clock:
    """Simulated time."""

    now_ns: int = 0

    def __call__(self) -> int:
        return self.now_ns


def record(steps: Steps, until_ns: int, recorder: Recorder) -> None:
    """Append the further steps that end by then, and take them as the writer does."""
    first, last = recorder.taken, int(np.searchsorted(steps.ends_ns, until_ns, "right"))
    rows = np.zeros((last - first, len(READINGS)), dtype=np.int64)
    rows[:, READINGS.index("called_ns")] = np.concatenate(([0], steps.ends_ns))[first:last]
    rows[:, READINGS.index("update_returned_ns")] = steps.ends_ns[first:last]
    rows[:, READINGS.index("delivered_tokens")] = steps.tokens[first:last]
    recorder.iterations.extend(map(tuple, rows.tolist()))
    recorder.take_iterations(len(rows))
