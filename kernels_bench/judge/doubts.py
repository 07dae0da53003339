"""Why a measured figure may be lower than the device can do: who else used the machine, and how steady it was."""

from __future__ import annotations

from kernels_bench.results import Figure

UNSTABLE = "unstable"
UNKNOWN_LOAD = "not known whether other programs used the machine"
UNKNOWN_GPU_LOAD = "not known whether other programs used the GPU"
# Tests of a GPU in which the host's processor takes part.
ON_THE_HOST = ("launch", "pcie")


def doubts(figure: Figure, is_cuda: bool, others_share: float | None, tolerance: float) -> tuple[str, ...]:
    """Return clauses that each lower the trust in a figure; an unknown load is none (see `unknown_load`).

    Programs that use a share of the cores can slow a test by about that share: up to `tolerance` is allowed, as for any
    other difference.
    """
    found = [] if figure.samples.stable else [UNSTABLE]
    if others_share is not None and others_share > tolerance and (not is_cuda or figure.test in ON_THE_HOST):
        found.append(f"measured while other programs used {others_share:.0%} of the cores")
    return tuple(found)


def unknown_load(figure: Figure, is_cuda: bool, others_share: float | None, gpu_users_known: bool) -> tuple[str, ...]:
    """Return a clause for each load that could not be read."""
    if not is_cuda:
        return () if others_share is not None else (UNKNOWN_LOAD,)
    host = (UNKNOWN_LOAD,) if others_share is None and figure.test in ON_THE_HOST else ()
    return host if gpu_users_known else (*host, UNKNOWN_GPU_LOAD)
