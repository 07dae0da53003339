"""Reasons why a measured figure may be lower than what the device can do."""

from kernels_bench.results import Figure

UNSTABLE = "unstable"
UNKNOWN_LOAD = "not known whether other programs used the machine"
UNKNOWN_GPU_LOAD = "not known whether other programs used the GPU"
# Tests of a GPU that also depend on the host's CPU.
ON_THE_HOST = ("launch", "pcie")


def doubts(figure: Figure, is_cuda: bool, others_share: float | None, tolerance: float) -> tuple[str, ...]:
    """Return a clause for each reason to doubt a figure, other than an unknown load (see `unknown_load`).

    Programs that use a share of the cores can slow a test by about that share; up to `tolerance` is allowed.
    """
    reasons = [] if figure.samples.stable else [UNSTABLE]
    if others_share is not None and others_share > tolerance and (not is_cuda or figure.test in ON_THE_HOST):
        reasons.append(f"measured while other programs used {others_share:.0%} of the cores")
    return tuple(reasons)


def unknown_load(figure: Figure, is_cuda: bool, others_share: float | None, gpu_users_known: bool) -> tuple[str, ...]:
    """Return a clause for each load by other programs that is not known."""
    if not is_cuda:
        return () if others_share is not None else (UNKNOWN_LOAD,)
    host = (UNKNOWN_LOAD,) if others_share is None and figure.test in ON_THE_HOST else ()
    return host if gpu_users_known else (*host, UNKNOWN_GPU_LOAD)
