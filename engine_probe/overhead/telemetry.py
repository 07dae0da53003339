"""What sampling costs: `python -m engine_probe.overhead.telemetry`, in CPU time of its thread, as a share of one core.

The thread's own clock counts what NVML and the kernel do for it, and not what it waits for.
"""

from __future__ import annotations

import argparse
import sys
import time

import msgspec

from engine_probe.record.recorder import Recorder
from engine_probe.telemetry.sampler import PERIOD_SECONDS, Sampler

LIMIT = 0.01  # of one core


class Cost(msgspec.Struct, frozen=True):
    """So many samples, and the CPU time they took; `opening` is paid once."""

    devices: int
    samples: int
    opening_ns: int
    sample_ns: float
    period_seconds: float

    @property
    def share_of_a_core(self) -> float:
        return self.sample_ns / 1e9 / self.period_seconds


def measure(seconds: float, period_seconds: float) -> Cost:
    """In this thread, at the sampler's own pace: back to back the caches would be warmer than in life."""
    recorder = Recorder()
    sampler = Sampler(recorder, period_seconds)
    begun_ns = time.thread_time_ns()
    sampler.open()
    opening_ns = time.thread_time_ns() - begun_ns
    end_s = time.monotonic() + seconds
    spent_ns = 0
    while time.monotonic() < end_s:
        time.sleep(period_seconds)
        before_ns = time.thread_time_ns()
        sampler.sample()
        spent_ns += time.thread_time_ns() - before_ns
        recorder.telemetry.clear()
    facts = sampler.stop()
    sampler.close()
    return Cost(len(facts["devices"]), sampler.samples, opening_ns, spent_ns / sampler.samples, period_seconds)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m engine_probe.overhead.telemetry", description="What sampling costs."
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="how long to sample (default: 20)")
    parser.add_argument("--period", type=float, default=PERIOD_SECONDS, help="seconds between samples (default: 0.05)")
    asked = parser.parse_args()
    cost = measure(asked.seconds, asked.period)
    print(
        f"{cost.samples} samples of the host and {cost.devices} devices: {cost.sample_ns / 1000:.1f} µs of CPU each, "
        f"{cost.share_of_a_core:.3%} of one core every {cost.period_seconds * 1000:g} ms (limit {LIMIT:.0%}); "
        f"opening took {cost.opening_ns / 1e6:.1f} ms once"
    )
    return int(cost.share_of_a_core >= LIMIT)


if __name__ == "__main__":
    sys.exit(main())
