"""What the cores of this machine read and multiply, measured in an instant, for a machine that was never measured.

Each core works for itself, all at the same time, and its rate is by the CPU time that it took: other programs delay the
work and do not change that time. The best of a few attempts counts. The sum over all cores is what no engine exceeds.
"""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from engine_probe.engine.cpu.amx import cpu_flags

BUFFER_BYTES = 64 << 20  # over all cores
MATRICES, SIDE = 200, 64  # numpy's library multiplies such small matrices on the core that calls it
ATTEMPTS = 5
# Cores with these multiply two bytes at a time faster than four, and numpy multiplies none of two bytes.
FASTER_IN_TWO_BYTES = ("amx", "avx512_bf16", "avx512_fp16", "avx10")
TWO_BYTES = ("bfloat16", "float16")


class CoreRates(NamedTuple):
    bytes_per_second: float  # read from memory
    operations_per_second: dict[str, float]  # of matrix products by number format; without those that are not known


def core_rates() -> CoreRates:
    """Measure all cores that this process may use, which takes some hundredths of a second."""
    cores = len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(cores) as pool:

        def of_all(work: Callable[[int], float]) -> float:
            return max(sum(pool.map(work, range(cores))) for _ in range(ATTEMPTS))

        buffers = [np.ones(BUFFER_BYTES // 4 // cores, dtype=np.float32) for _ in range(cores)]
        read = of_all(lambda core: rate(buffers[core].nbytes, lambda: buffers[core].max()))
        factors = np.ones((MATRICES, SIDE, SIDE), dtype=np.float32)
        products = [np.empty_like(factors) for _ in range(cores)]
        operations = 2.0 * MATRICES * SIDE**3
        multiplied = of_all(lambda core: rate(operations, lambda: np.matmul(factors, factors, out=products[core])))
    return CoreRates(
        read, dict.fromkeys(("float32", *(TWO_BYTES if has_no_faster_format(cpu_flags()) else ())), multiplied)
    )


def rate(amount: float, work: Callable[[], object]) -> float:
    """Return the amount per second of this thread's CPU time."""
    begun = time.thread_time_ns()
    work()
    return amount * 1e9 / max(1, time.thread_time_ns() - begun)


def has_no_faster_format(flags: list[str]) -> bool:
    """Return whether numbers of two bytes are multiplied as float32, and so no faster. False if that is not known."""
    return bool(flags) and not any(flag.startswith(FASTER_IN_TWO_BYTES) for flag in flags)
