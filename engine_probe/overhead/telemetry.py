"""The sampler's CPU time as a share of one core: `python -m engine_probe.overhead.telemetry`.

The clock is that of the thread: it counts the work of NVML and the kernel, and not the time that the thread waits.
"""

import argparse
import sys
import time

import msgspec

from engine_probe.record.recorder import Recorder
from engine_probe.telemetry.sampler import PERIOD_SECONDS, Sampler

LIMIT = 0.01  # of one core


class TelemetryCost(msgspec.Struct, frozen=True):
    """Holds the CPU time of `opening`, which is spent once, and of an average sample."""

    devices: int
    samples: int
    opening_ns: int
    sample_ns: float
    period_seconds: float

    @property
    def share_of_a_core(self) -> float:
        return self.sample_ns / 1e9 / self.period_seconds


def measure(seconds: float, period_seconds: float) -> TelemetryCost:
    """Sample in this thread at the sampler's own pace; without pauses the caches would be warmer than in a real run."""
    recorder = Recorder()
    sampler = Sampler(recorder, period_seconds)
    started_ns = time.thread_time_ns()
    sampler.open()
    opening_ns = time.thread_time_ns() - started_ns
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
    return TelemetryCost(len(facts["devices"]), sampler.samples, opening_ns, spent_ns / sampler.samples, period_seconds)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m engine_probe.overhead.telemetry", description="Measure the CPU time that the sampler takes."
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="how long to sample (default: 20)")
    parser.add_argument("--period", type=float, default=PERIOD_SECONDS, help="seconds between samples (default: 0.05)")
    options = parser.parse_args()
    cost = measure(options.seconds, options.period)
    print(
        f"{cost.samples} samples of the host and {cost.devices} devices: {cost.sample_ns / 1000:.1f} µs of CPU each, "
        f"{cost.share_of_a_core:.3%} of one core every {cost.period_seconds * 1000:g} ms (limit {LIMIT:.0%}); "
        f"opening took {cost.opening_ns / 1e6:.1f} ms once"
    )
    return int(cost.share_of_a_core >= LIMIT)


if __name__ == "__main__":
    sys.exit(main())
