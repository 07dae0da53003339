"""Cores for the ranks of vLLM's CPU build, which by default stops if the machine has fewer NUMA nodes than ranks."""

import os
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

from engine_probe.engine.parallelism import SIZES, rank_count
from engine_probe.errors import InputError

BINDING = "VLLM_CPU_OMP_THREADS_BIND"


def bind_ranks(arguments: Mapping[str, object]) -> None:
    """Divide the cores of this process among the ranks, unless the user has set vLLM's variable."""
    ranks = rank_count(arguments)
    if ranks < 2 or BINDING in os.environ or not cpu_build():
        return
    os.environ[BINDING] = shares(sorted(os.sched_getaffinity(0)), ranks)


def check_cores(arguments: Mapping[str, object]) -> None:
    """Refuse, before the engine starts, more ranks than cores."""
    if BINDING not in os.environ and cpu_build():
        shares(sorted(os.sched_getaffinity(0)), rank_count(arguments))


def shares(cores: list[int], ranks: int) -> str:
    """Return equal shares as vLLM's variable holds them, such as `0,1|2,3`; cores that are left over stay free."""
    size = len(cores) // ranks
    if not size:
        raise InputError(
            f"{ranks} ranks need a core each on vLLM's CPU build, and this process may use {len(cores)}: lower "
            f"{' or '.join(SIZES)}"
        )
    groups = (cores[rank * size : (rank + 1) * size] for rank in range(ranks))
    return "|".join(",".join(map(str, group)) for group in groups)


def cpu_build() -> bool:
    """Return whether the installed vLLM is the CPU build."""
    try:
        version("vllm-cpu")
    except PackageNotFoundError:
        return False
    return True
