"""What an engine takes of a machine in a fleet, told before anything is started there."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec

from engine_probe.engine.cpu.cpu_binding import BINDING
from engine_probe.engine.parallelism import rank_count, size_words
from engine_probe.engine.spec import EngineSpec
from engine_probe.errors import InputError
from engine_probe.text_format import counted

BACKENDS = ("distributed_executor_backend", "data_parallel_backend")


class Node(msgspec.Struct, frozen=True):
    """A machine as Ray describes it."""

    id: str
    host: str
    cpus: float
    gpus: float
    card: str = ""  # what kind, where Ray tells it


class Claim(msgspec.Struct, frozen=True):
    """For one engine, all on one machine."""

    cpus: float
    gpus: int

    def __str__(self) -> str:
        return counted(self.gpus, "GPU") if self.gpus else counted(self.cpus, "CPU")

    def fits(self, node: Node) -> bool:
        return node.gpus >= self.gpus and node.cpus >= self.cpus


def claim_of(spec: EngineSpec, nodes: list[Node], on_gpus: bool) -> Claim:
    """A card for each rank, and a core to drive it. On a fleet without cards: a whole machine of the largest kind.

    vLLM binds its threads to every core it finds, and a neighbour on the same memory would be measured with it; so
    on CPUs two engines never share a machine, however small they are.
    """
    check_one_machine(spec.arguments)
    if on_gpus:
        gpus = rank_count(spec.arguments)
        return Claim(cpus=gpus, gpus=gpus)
    return Claim(cpus=max((node.cpus for node in nodes), default=0.0) or 1.0, gpus=0)


def has_gpus(nodes: Iterable[Node]) -> bool:
    return any(node.gpus for node in nodes)


def check_one_machine(arguments: Mapping[str, object]) -> None:
    """An engine that asks Ray for cards by itself would wait for those that its own claim holds."""
    for name in BACKENDS:
        if arguments.get(name) == "ray":
            raise InputError(
                f'engine.arguments.{name} is "ray": such an engine claims its machines from Ray itself, which --ray '
                "has claimed for it already; leave the argument out, or run this sweep without --ray"
            )
    if arguments.get("nnodes", 1) != 1:
        raise InputError("engine.arguments.nnodes: an engine over several machines is run without --ray")


def check_claims(specs: Iterable[EngineSpec], nodes: list[Node]) -> list[Node]:
    """Refuse what no machine of this fleet can ever hold; the machines that engines will run on."""
    fitting: dict[str, Node] = {}
    for spec in dict.fromkeys(specs):
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
    return list(fitting.values())


def check_ranks(spec: EngineSpec, nodes: Iterable[Node], claim: Claim) -> None:
    """On processors each rank wants a core, unless the user has said himself which cores it gets."""
    needed, most = rank_count(spec.arguments), max(nodes, key=lambda node: node.cpus)
    if not claim.gpus and BINDING not in os.environ and needed > most.cpus:
        raise InputError(
            f"{spec.model} with {size_words(spec.arguments)} needs a CPU for each of its {needed} ranks, and the "
            f"largest machine of this fleet ({most.host}) has {counted(most.cpus, 'CPU')}: ask for fewer ranks, or "
            "add a larger node"
        )


def mixed_cards(nodes: Iterable[Node]) -> str | None:
    """Points measured on different cards do not make one curve: said once, before."""
    kinds = Counter(node.card or "unknown" for node in nodes if node.gpus)
    if len(kinds) < 2:
        return None
    named = ", ".join(f"{kind} on {counted(number, 'machine')}" for kind, number in sorted(kinds.items()))
    return f"the cards of this fleet differ ({named}): compare only points whose run.json names the same card"
