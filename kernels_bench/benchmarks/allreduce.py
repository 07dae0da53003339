"""All-reduce over all GPUs of the run, at the sizes of tensor-parallel layers, with one process per GPU and NCCL.

The rate is NCCL's bus bandwidth: 2·(n-1)/n of the buffer crosses each GPU's link. Short all-reduces are timed many at
a time from a graph, as engines run them.
"""

import os

import torch

from kernels_bench.benchmarks.context import Bench, Findings
from kernels_bench.benchmarks.memory_bandwidth import MIB
from kernels_bench.results import INVALID, Check, Detail, Skipped
from kernels_bench.timing.measure import Work, measure, rate
from kernels_bench.timing.rank_group import Collective, RankGroup

HIDDEN, BF16_BYTES = 8192, 2  # a 70B Llama
TOKENS = (1, 16, 256, 8192)  # decode of that many requests; one prefill chunk
QUICK_TOKENS = (16, 8192)
CHECK_BYTES = 20  # per value: the check holds two 64-bit positions beside the buffer and its source


def run(benches: tuple[Bench, ...]) -> Findings:
    first, num_gpus = benches[0], len(benches)
    backend = "nccl" if first.device.is_cuda else "gloo"
    if not torch.distributed.is_available() or not torch.distributed.is_backend_available(backend):
        yield Skipped("allreduce", "all-reduce", f"this torch has no {backend}")
        return
    free_bytes = min(bench.usable_bytes() for bench in benches)
    first.say(f"{num_gpus} processes start")
    with RankGroup([bench.device for bench in benches], backend) as ranks:
        for tokens in QUICK_TOKENS if first.quick else TOKENS:
            name = f"{tokens} tokens × {HIDDEN}"
            values = tokens * HIDDEN
            needed = values * (2 * BF16_BYTES + (num_gpus + 1) * CHECK_BYTES)
            if needed > free_bytes:
                yield Skipped("allreduce", name, f"{needed // MIB} MiB are not free on every GPU", verdict=INVALID)
                continue
            first.require_time(name)
            ranks.prepare(values)
            first.say(name)
            samples = measure(Work((Collective(1),), cold=False), ranks, first.effort, first.until_ns)
            wrong = ranks.wrong_values()
            check = Check(wrong == 0, "the sum", values, float(wrong))
            size = values * BF16_BYTES
            moved = 2 * (num_gpus - 1) * size // num_gpus
            detail: Detail = {"cards": num_gpus, "buffer_bytes": size, "backend": backend}
            detail["implementation"] = implementation(backend)
            yield rate("allreduce", name, "B/s", moved, samples, check, detail)


def implementation(backend: str) -> str:
    """Return what ran: NCCL chooses its algorithm by size and links itself, unless NCCL_ALGO tells it which.

    What vLLM would run at that size, `judge/engine_all_reduce.py` adds where it is known.
    """
    if backend != "nccl":
        return backend
    version = ".".join(map(str, torch.cuda.nccl.version()))
    return f"NCCL {version}, {os.environ.get('NCCL_ALGO', 'its own choice of algorithm')}"
