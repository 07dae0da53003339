"""What an engine takes of a machine in a fleet, checked before anything is started there."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from engine_probe.engine.cpu.cpu_binding import BINDING
from engine_probe.engine.engine_spec import EngineSpec
from engine_probe.engine.parallelism import rank_count, size_words
from engine_probe.errors import InputError
from engine_probe.text_format import counted

BACKENDS = ("distributed_executor_backend", "data_parallel_backend")


class RayNode(msgspec.Struct, frozen=True):
    """A machine as Ray describes it."""

    id: str
    host: str
    cpus: float
    gpus: float
    gpu_kind: str = ""  # where Ray knows it


class EngineShare(msgspec.Struct, frozen=True):
    """What one engine takes of one machine."""

    cpus: float
    gpus: int

    def __str__(self) -> str:
        return counted(self.gpus, "GPU") if self.gpus else counted(self.cpus, "CPU")

    def fits(self, node: RayNode) -> bool:
        return node.gpus >= self.gpus and node.cpus >= self.cpus


def claim_of(spec: EngineSpec, nodes: list[RayNode], on_gpus: bool) -> EngineShare:
    """Return a GPU and a core for each rank; on a fleet without GPUs, a whole machine of the largest kind.

    vLLM binds its threads to every core it finds, and two engines would share the memory bandwidth; so on CPUs two
    engines never share a machine, however small they are.
    """
    check_one_machine(spec.arguments)
    if on_gpus:
        gpus = rank_count(spec.arguments)
        return EngineShare(cpus=gpus, gpus=gpus)
    return EngineShare(cpus=max((node.cpus for node in nodes), default=0.0) or 1.0, gpus=0)


def has_gpus(nodes: Iterable[RayNode]) -> bool:
    return any(node.gpus for node in nodes)


def check_one_machine(arguments: Mapping[str, object]) -> None:
    """Refuse an engine that asks Ray for GPUs by itself: it would wait for those that its own claim holds."""
    for name in BACKENDS:
        if arguments.get(name) == "ray":
            raise InputError(
                f'engine.arguments.{name} is "ray": such an engine claims its machines from Ray itself, which --ray '
                "has claimed for it already; leave the argument out, or run this sweep without --ray"
            )
    if arguments.get("nnodes", 1) != 1:
        raise InputError("engine.arguments.nnodes: an engine over several machines is run without --ray")


def check_claims(groups: Iterable[Sequence[EngineSpec]], nodes: list[RayNode]) -> list[RayNode]:
    """Refuse an engine that no machine of this fleet can hold, and engines that it cannot hold together.

    Return the machines that engines may run on.
    """
    fitting: dict[str, RayNode] = {}
    together = list(dict.fromkeys(map(tuple, groups)))
    for spec in dict.fromkeys(spec for specs in together for spec in specs):
        claim = claim_of(spec, nodes, has_gpus(nodes))
        if fit := {node.id: node for node in nodes if claim.fits(node)}:
            check_ranks(spec, fit.values(), claim)
            fitting |= fit
            continue
        if not any(node.cpus for node in nodes):
            raise InputError("this fleet has no machine with a CPU to run an engine on: start a node that offers some")
        most = max(nodes, key=lambda node: (node.gpus, node.cpus))
        raise InputError(
            f"{spec.model} with {size_words(spec.arguments)} needs {counted(claim.gpus, 'GPU')} and "
            f"{counted(claim.cpus, 'CPU')} on one machine, and the largest of this fleet ({most.host}) has "
            f"{counted(most.gpus, 'GPU')} and {counted(most.cpus, 'CPU')}: ask for fewer ranks, or add a larger node"
        )
    for specs in together:
        check_room(specs, list(fitting.values()))
    return list(fitting.values())


def check_room(specs: Sequence[EngineSpec], nodes: list[RayNode]) -> None:
    """Refuse engines for which the fleet has no room at the same time: the largest are placed first, where it is least.

    That finds room for all if there is any, as long as sizes divide each other.
    """
    claims = [claim_of(spec, nodes, has_gpus(nodes)) for spec in specs]
    free = [(node.gpus, node.cpus) for node in nodes]
    for claim in sorted(claims, key=lambda one: (one.gpus, one.cpus), reverse=True):
        room = [place for place, (gpus, cpus) in enumerate(free) if gpus >= claim.gpus and cpus >= claim.cpus]
        if not room:
            raise InputError(no_room(claims, nodes))
        place = min(room, key=lambda at: free[at])
        free[place] = free[place][0] - claim.gpus, free[place][1] - claim.cpus


def no_room(claims: Sequence[EngineShare], nodes: Sequence[RayNode]) -> str:
    parts = ", ".join(f"{count} with {claim}" for claim, count in Counter(map(str, claims)).items())
    gpus = sum(claim.gpus for claim in claims)
    if gpus:
        there = sum(int(node.gpus) for node in nodes)
        needed, has = counted(gpus, "GPU"), f"{there} on {counted(len(nodes), 'machine')}"
    else:
        needed, has = counted(len(claims), "machine"), f"{len(nodes)}: on CPUs each engine takes a machine"
    return f"{len(claims)} engines together ({parts}) need {needed}, and this fleet has {has}: lower replicas"


def check_ranks(spec: EngineSpec, nodes: Iterable[RayNode], claim: EngineShare) -> None:
    """Refuse an engine on CPUs with fewer cores than ranks, unless the user binds the ranks to cores."""
    needed, most = rank_count(spec.arguments), max(nodes, key=lambda node: node.cpus)
    if not claim.gpus and BINDING not in os.environ and needed > most.cpus:
        raise InputError(
            f"{spec.model} with {size_words(spec.arguments)} needs a CPU for each of its {needed} ranks, and the "
            f"largest machine of this fleet ({most.host}) has {counted(most.cpus, 'CPU')}: ask for fewer ranks, or "
            "add a larger node"
        )


def mixed_gpus(nodes: Iterable[RayNode]) -> str | None:
    """Return a warning if the GPUs differ: points measured on different ones do not make one curve."""
    kinds = Counter(node.gpu_kind or "unknown" for node in nodes if node.gpus)
    if len(kinds) < 2:
        return None
    named = ", ".join(f"{kind} on {counted(number, 'machine')}" for kind, number in sorted(kinds.items()))
    return f"the GPUs of this fleet differ ({named}): compare only points whose run.json names the same GPU"
