"""What each of several engines gets of this machine: GPUs, or an equal part of the cores and of the memory."""

import os
from collections.abc import Sequence
from itertools import accumulate

import msgspec

from engine_probe.engine.cpu.cpu_binding import BINDING
from engine_probe.engine.engine_spec import EngineSpec
from engine_probe.engine.parallelism import rank_count
from engine_probe.errors import InputError
from engine_probe.text_format import counted

VISIBLE = "CUDA_VISIBLE_DEVICES"


class MachineShare(msgspec.Struct, frozen=True):
    """The part of a machine that one engine may use; empty tuples leave it all."""

    cores: tuple[int, ...] = ()
    gpus: tuple[str, ...] = ()  # as CUDA_VISIBLE_DEVICES names them
    engines: int = 1  # that share the machine's memory

    @property
    def environment(self) -> dict[str, str]:
        return {VISIBLE: ",".join(self.gpus)} if self.gpus else {}


WHOLE = MachineShare()


def shares_here(engines: Sequence[EngineSpec], num_gpus: int) -> list[MachineShare]:
    """Return the share of each engine: a GPU for each rank, or without GPUs as many cores for each rank as for others.

    Raise `InputError` if this machine has too few.
    """
    if len(engines) == 1:
        return [WHOLE]
    ranks = [rank_count(spec.arguments) for spec in engines]
    ends = list(accumulate(ranks))
    if num_gpus:
        names = [name for name in os.environ.get(VISIBLE, "").split(",") if name] or list(map(str, range(num_gpus)))
        if ends[-1] > len(names):
            raise InputError(too_few(engines, ends[-1], "GPU", len(names)))
        return [MachineShare(gpus=tuple(names[end - own : end])) for own, end in zip(ranks, ends, strict=True)]
    if BINDING in os.environ:
        raise InputError(f"{BINDING} binds every engine to the same cores: unset it, the cores are divided among them")
    cores = sorted(os.sched_getaffinity(0))
    each = len(cores) // ends[-1]
    if not each:
        raise InputError(too_few(engines, ends[-1], "core", len(cores)))
    return [
        MachineShare(tuple(cores[each * (end - own) : each * end]), engines=len(engines))
        for own, end in zip(ranks, ends, strict=True)
    ]


def too_few(engines: Sequence[EngineSpec], needed: int, what: str, available: int) -> str:
    return (
        f"{len(engines)} engines together need {counted(needed, what)}, and this machine has {available}: lower "
        "replicas, or measure on a fleet (--ray)"
    )
