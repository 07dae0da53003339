"""The same command on every machine of a Ray cluster, at once. The only module that knows Ray.

Each node has one actor that holds all of its GPUs, or all of its CPUs, as Ray counts them, so that no other work of the
cluster runs beside; it starts `python -m kernels_bench` there and hands back its JSON. Ceilings are so stored on each
node. A node that dies, does not answer or has no kernels_bench is a row with the reason, and the others go on.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

from kernels_bench.errors import InputError, UnavailableError
from kernels_bench.judge.fleet import FleetReport, Node, across, differences
from kernels_bench.results import STOPPED, WARN, Finding, Report

AUTO = "auto"
REACH_S = 5.0  # for a port to open; Ray itself would try for minutes
START_S = 60.0  # for an actor to get its node's devices
LOOK_S = 1.0
STOP_S = 30.0  # for nodes to hand back what they have, when all is stopped
MOST_QUOTED = 300  # characters of another's words


@dataclass(frozen=True)
class Asked:
    """What goes to every node."""

    device: str | None
    arguments: tuple[str, ...]  # for the command there, beside --device and the files
    tolerance: float
    baseline: bytes | None = None


@dataclass
class Place:
    """One node while it works."""

    name: str
    node_id: str
    cpus: float
    gpus: float
    actor: Any = None
    begun: float = field(default_factory=time.monotonic)
    answer: Any = None  # what it will come to, from when it runs
    words: str = ""

    @property
    def running(self) -> bool:
        return self.answer is not None


def run(address: str, asked: Asked, tell: Callable[[str], None]) -> FleetReport:
    started, begun = datetime.now(UTC), time.monotonic()
    with connected(address) as ray:
        places, left_out = chosen(alive(ray), asked.device)
        done, stopped = measured(ray, places, asked, tell)
    nodes = across([done[place.node_id] for place in places], asked.tolerance)
    return FleetReport(
        schema="kernels_bench.fleet/1",
        started=started.isoformat(timespec="seconds"),
        seconds=time.monotonic() - begun,
        command=tuple(sys.argv),
        tolerance=asked.tolerance,
        nodes=nodes,
        findings=(*left_out, *differences(nodes)),
        stopped=stopped,
    )


@contextmanager
def connected(address: str) -> Iterator[Any]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise UnavailableError("--ray needs the package ray: pip install 'engine-probe[ray]'") from error
    check_address(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # connection, versions, session folders: Ray's own words say which
        raise UnavailableError(f"--ray {address}: {first_line(error)}") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def check_address(address: str) -> None:
    if address == AUTO:
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "://" in address:
        raise InputError(
            f"--ray {address}: give auto or HOST:PORT of the cluster's head, on a machine that belongs to the cluster"
        )
    try:
        socket.create_connection((host, int(port)), REACH_S).close()
    except (OSError, OverflowError) as error:
        raise UnavailableError(f"--ray {address}: nothing answers there ({error}); `ray status` names it") from error


def alive(ray: Any) -> list[Place]:
    """By the host's name, and where several nodes share one, by a piece of their number too."""
    told = [node for node in ray.nodes() if node["Alive"]]
    hosts = Counter(node["NodeManagerHostname"] for node in told)
    return [
        Place(
            name=host if hosts[host := node["NodeManagerHostname"]] == 1 else f"{host}-{node['NodeID'][:6]}",
            node_id=node["NodeID"],
            cpus=node["Resources"].get("CPU", 0.0),
            gpus=node["Resources"].get("GPU", 0.0),
        )
        for node in told
    ]


def chosen(places: list[Place], device: str | None) -> tuple[list[Place], list[Finding]]:
    """Where cards are meant, the nodes that have some; the others are told."""
    with_cards = [place for place in places if place.gpus]
    if device == "cpu" or (device is None and not with_cards):
        return [Place(place.name, place.node_id, place.cpus, 0.0) for place in places], []
    if not with_cards:
        raise UnavailableError(
            f"--device {device}: no node of this Ray cluster has a GPU; --device cpu measures its CPUs"
        )
    without = [place.name for place in places if not place.gpus]
    left_out = [Finding(WARN, f"left out, for Ray knows of no GPU there: {', '.join(without)}")] if without else []
    return [Place(place.name, place.node_id, min(1.0, place.cpus), place.gpus) for place in with_cards], left_out


def measured(ray: Any, places: list[Place], asked: Asked, tell: Callable[[str], None]) -> tuple[dict[str, Node], bool]:
    """Each place's node, when all have ended one way or another; and whether Ctrl-C was the way."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from kernels_bench.run import ray_node

    ray.cloudpickle.register_pickle_by_value(ray_node)
    waiting: dict[Any, Place] = {}
    done: dict[str, Node] = {}
    try:
        for place in places:
            there = NodeAffinitySchedulingStrategy(place.node_id, soft=False)
            actor = ray.remote(ray_node.NodeSide).options(
                num_cpus=place.cpus, num_gpus=place.gpus, scheduling_strategy=there, max_restarts=0, max_concurrency=3
            )
            place.actor = actor.remote()
            waiting[place.actor.ready.remote()] = place
        while waiting:
            ready, _ = ray.wait(list(waiting), num_returns=1, timeout=LOOK_S)
            for ref in ready:
                step(ray, ref, waiting, asked, done, tell)
            look(ray, waiting, done, tell)
    except KeyboardInterrupt:
        done |= stopped_early(ray, [place for place in places if place.node_id not in done])
        return done, True
    finally:
        for place in places:
            if place.node_id not in done and place.actor:
                with suppress(Exception):
                    ray.get(place.actor.stop.remote(), timeout=2 * LOOK_S)
            if place.actor:
                ray.kill(place.actor)
        ray.cloudpickle.unregister_pickle_by_value(ray_node)
    return done, False


def stopped_early(ray: Any, places: list[Place]) -> dict[str, Node]:
    """The nodes still at work get the Ctrl-C too, and hand back what they have finished."""
    running = [place for place in places if place.running]
    for place in running:
        place.actor.stop.remote()
    ready, _ = ray.wait([place.answer for place in running], num_returns=len(running), timeout=STOP_S)
    found = {}
    for place in places:
        node = Node(place.name, place.node_id, failed=f"{STOPPED} before it had finished anything")
        if place.answer in ready:
            with suppress(ray.exceptions.RayError):
                node = ended(place, *ray.get(place.answer))
        found[place.node_id] = node
    return found


def step(
    ray: Any, ref: Any, waiting: dict[Any, Place], asked: Asked, done: dict[str, Node], tell: Callable[[str], None]
) -> None:
    """What a node answered: that it is ready, or how it ended."""
    place = waiting.pop(ref)
    try:
        answer = ray.get(ref)
    except ray.exceptions.RayError as error:
        node = Node(place.name, place.node_id, failed=why_lost(ray, error))
    else:
        if not place.running:
            device = asked.device or ("all" if place.gpus else "cpu")
            place.answer = place.actor.run.remote(["--device", device, *asked.arguments], asked.baseline)
            waiting[place.answer] = place
            tell(f"{place.name}: runs on {device}")
            return
        node = ended(place, *answer)
    done[place.node_id] = node
    tell(f"{place.name}: {node.failed or 'done'}")


def look(ray: Any, waiting: dict[Any, Place], done: dict[str, Node], tell: Callable[[str], None]) -> None:
    """Gives up who never started, and asks the others what they do."""
    for ref, place in list(waiting.items()):
        if not place.running and time.monotonic() - place.begun > START_S:
            del waiting[ref]
            devices = f"{place.gpus:g} GPUs" if place.gpus else f"{place.cpus:g} CPUs"
            failed = f"its {devices} did not come free in {START_S:.0f} s: other work of this Ray cluster holds them"
            done[place.node_id] = Node(place.name, place.node_id, failed=failed)
            tell(f"{place.name}: {failed}")
        elif place.running:
            with suppress(ray.exceptions.RayError):  # whoever is gone says so where its answer is awaited
                words = ray.get(place.actor.doing.remote(), timeout=LOOK_S)
                if words and words != place.words:
                    place.words = words
                    tell(f"{place.name}: {words}")


def ended(place: Place, code: int, written: bytes | None, words: str) -> Node:
    if written is None:
        said = words.removeprefix("kernels_bench: ")[:MOST_QUOTED] or "nothing"
        return Node(place.name, place.node_id, failed=f"no report: it ended with {code} and said: {said}")
    try:
        return Node(place.name, place.node_id, msgspec.json.decode(written, type=Report))
    except msgspec.DecodeError as error:
        return Node(place.name, place.node_id, failed=f"its kernels_bench is another: {error}")


def why_lost(ray: Any, error: Exception) -> str:
    known = ray.exceptions
    if isinstance(error, known.NodeDiedError | known.ActorUnavailableError | known.ActorDiedError):
        return f"its machine or its Ray process died: {first_line(error)}"
    return first_line(error)


def first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:MOST_QUOTED]
