"""The time to launch one operator, which limits every small step of an engine."""

import msgspec
import torch

from kernels_bench.benchmarks.context import Bench, Findings
from kernels_bench.results import Samples
from kernels_bench.timing.clocks import CpuClock
from kernels_bench.timing.measure import Call, Work, latency, measure

LAUNCHES = 100  # in a row; far fewer than a stream queues before the host must wait


def run(bench: Bench) -> Findings:
    tiny = torch.zeros(1, device=bench.torch_device)

    def add() -> object:
        return tiny.add_(1.0)

    if bench.device.is_cuda:
        with torch.cuda.device(bench.torch_device):
            yield from _on_gpu(bench, add)
    else:
        yield latency("launch", "operator", bench.measure("operator", Work((add,), cold=False)))


def _on_gpu(bench: Bench, add: Call) -> Findings:
    """Measure a launch until the host knows that it finished, by the host's clock, and many in a row, by events."""
    add()
    torch.cuda.synchronize(bench.torch_device)
    graph_of_one, graph_of_many = bench.clock.bundle((add,), 1), bench.clock.bundle((add,), LAUNCHES)
    yield latency("launch", "launch to finish", _to_finish(bench, "launch to finish", add))
    yield latency("launch", "graph replay to finish", _to_finish(bench, "graph replay to finish", graph_of_one))

    def in_a_row() -> None:
        for _ in range(LAUNCHES):
            add()

    for name, call in (("back to back", in_a_row), ("in a graph", graph_of_many)):
        samples = bench.measure(name, Work((call,), cold=False, graph=False))
        yield latency("launch", name, per_launch(samples, LAUNCHES))


def _to_finish(bench: Bench, name: str, call: Call) -> Samples:
    def launch_and_wait() -> None:
        call()
        torch.cuda.synchronize(bench.torch_device)

    bench.require_time(name)
    bench.say(name)
    host_clock = CpuClock(bench.device.cache_bytes)
    return measure(Work((launch_and_wait,), cold=False), host_clock, bench.effort, bench.until_ns)


def per_launch(samples: Samples, launches: int) -> Samples:
    """Turn the samples of many launches in one call into samples of one launch."""
    return msgspec.structs.replace(
        samples,
        rounds_ns=tuple(tuple(time / launches for time in times) for times in samples.rounds_ns),
        calls_per_sample=samples.calls_per_sample * launches,
        warm_up_calls=samples.warm_up_calls * launches,
        median_ns=samples.median_ns / launches,
        iqr_ns=samples.iqr_ns / launches,
    )
