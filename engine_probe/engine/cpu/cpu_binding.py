"""On vLLM's CPU build every rank wants cores of its own; left to itself it stops where memory has fewer nodes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

from engine_probe.engine.parallelism import SIZES, rank_count
from engine_probe.errors import InputError

BINDING = "VLLM_CPU_OMP_THREADS_BIND"


def bind_ranks(arguments: Mapping[str, object]) -> None:
    """Shares the cores of this process out among the ranks, unless the user has said how."""
    ranks = rank_count(arguments)
    if ranks < 2 or BINDING in os.environ or not cpu_build():
        return
    os.environ[BINDING] = shares(sorted(os.sched_getaffinity(0)), ranks)


def check_cores(arguments: Mapping[str, object]) -> None:
    """Refuse before a start what `bind_ranks` could not share out."""
    if BINDING not in os.environ and cpu_build():
        shares(sorted(os.sched_getaffinity(0)), rank_count(arguments))


def shares(cores: list[int], ranks: int) -> str:
    """As vLLM reads it: `0,1|2,3`; what is left over by even shares stays free."""
    each = len(cores) // ranks
    if not each:
        raise InputError(
            f"{ranks} ranks need a core each on vLLM's CPU build, and this process may use {len(cores)}: lower "
            f"{' or '.join(SIZES)}"
        )
    groups = (cores[rank * each : (rank + 1) * each] for rank in range(ranks))
    return "|".join(",".join(map(str, group)) for group in groups)


def cpu_build() -> bool:
    """Return whether the installed vLLM is the build for processors."""
    try:
        version("vllm-cpu")
    except PackageNotFoundError:
        return False
    return True
