"""Running the command on all machines of a Ray cluster at the same time. The only module that uses Ray.

Each node gets one actor that reserves all of its GPUs, or all of its CPUs, so that no other work of the cluster runs
there. The actor starts `python -m kernels_bench` and returns its JSON; ceilings are stored on the node. A node that
dies, does not answer or has no kernels_bench becomes a row with the reason, and the others go on.
"""

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
from page_kit.plain_text import MOST_QUOTED, first_line

AUTO = "auto"
CONNECT_S = 5.0  # for a port to answer; Ray itself would try for minutes
START_S = 60.0  # for an actor to get its node's devices
POLL_S = 1.0
STOP_S = 30.0  # for nodes to return what they have when the run is stopped


@dataclass(frozen=True)
class NodeCommand:
    """Holds what every node runs."""

    device: str | None
    arguments: tuple[str, ...]  # beside --device and the files
    tolerance: float
    baseline: bytes | None = None


@dataclass
class NodeRun:
    """Tracks the run on one node."""

    name: str
    node_id: str
    cpus: float
    gpus: float
    actor: Any = None
    started_s: float = field(default_factory=time.monotonic)
    answer: Any = None  # Ray's reference to the result, once the command runs
    progress: str = ""

    @property
    def running(self) -> bool:
        return self.answer is not None

    def failed(self, reason: str) -> Node:
        return Node(self.name, self.node_id, failed=reason)


def run(address: str, command: NodeCommand, tell: Callable[[str], None]) -> FleetReport:
    started, started_s = datetime.now(UTC), time.monotonic()
    with connected(address) as ray:
        runs, left_out = chosen(alive(ray), command.device)
        done, stopped = measured(ray, runs, command, tell)
    nodes = across([done[node.node_id] for node in runs], command.tolerance)
    return FleetReport(
        schema="kernels_bench.fleet/1",
        started=started.isoformat(timespec="seconds"),
        seconds=time.monotonic() - started_s,
        command=tuple(sys.argv),
        tolerance=command.tolerance,
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
    except Exception as error:  # a failed connection, another version of Ray ...: its message says which
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
        socket.create_connection((host, int(port)), CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise UnavailableError(f"--ray {address}: nothing answers there ({error}); `ray status` names it") from error


def alive(ray: Any) -> list[NodeRun]:
    """Return the nodes of the cluster, named by host, and by a part of the node id if several share a host."""
    nodes = [node for node in ray.nodes() if node["Alive"]]
    hosts = Counter(node["NodeManagerHostname"] for node in nodes)
    return [
        NodeRun(
            name=host if hosts[host := node["NodeManagerHostname"]] == 1 else f"{host}-{node['NodeID'][:6]}",
            node_id=node["NodeID"],
            cpus=node["Resources"].get("CPU", 0.0),
            gpus=node["Resources"].get("GPU", 0.0),
        )
        for node in nodes
    ]


def chosen(runs: list[NodeRun], device: str | None) -> tuple[list[NodeRun], list[Finding]]:
    """Return the nodes to measure, and a warning about those that are left out because they have no GPU."""
    with_gpus = [node for node in runs if node.gpus]
    if device == "cpu" or (device is None and not with_gpus):
        return [NodeRun(node.name, node.node_id, node.cpus, 0.0) for node in runs], []
    if not with_gpus:
        raise UnavailableError(
            f"--device {device}: no node of this Ray cluster has a GPU; --device cpu measures its CPUs"
        )
    without = [node.name for node in runs if not node.gpus]
    left_out = [Finding(WARN, f"left out, because Ray knows no GPU there: {', '.join(without)}")] if without else []
    return [NodeRun(node.name, node.node_id, min(1.0, node.cpus), node.gpus) for node in with_gpus], left_out


def measured(
    ray: Any, runs: list[NodeRun], command: NodeCommand, tell: Callable[[str], None]
) -> tuple[dict[str, Node], bool]:
    """Run all nodes to their end; return each node by its id, and whether Ctrl-C ended the run."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from kernels_bench.run import ray_node

    ray.cloudpickle.register_pickle_by_value(ray_node)
    waiting: dict[Any, NodeRun] = {}
    done: dict[str, Node] = {}
    try:
        for node in runs:
            on_node = NodeAffinitySchedulingStrategy(node.node_id, soft=False)
            actor = ray.remote(ray_node.NodeActor).options(
                num_cpus=node.cpus, num_gpus=node.gpus, scheduling_strategy=on_node, max_restarts=0, max_concurrency=3
            )
            node.actor = actor.remote()
            waiting[node.actor.ready.remote()] = node
        while waiting:
            ready, _ = ray.wait(list(waiting), num_returns=1, timeout=POLL_S)
            for ref in ready:
                take_answer(ray, ref, waiting, command, done, tell)
            poll(ray, waiting, done, tell)
    except KeyboardInterrupt:
        done |= stopped_early(ray, [node for node in runs if node.node_id not in done])
        return done, True
    finally:
        for node in runs:
            if node.node_id not in done and node.actor:
                with suppress(Exception):
                    ray.get(node.actor.stop.remote(), timeout=2 * POLL_S)
            if node.actor:
                ray.kill(node.actor)
        ray.cloudpickle.unregister_pickle_by_value(ray_node)
    return done, False


def stopped_early(ray: Any, runs: list[NodeRun]) -> dict[str, Node]:
    """Stop the nodes that still run, as Ctrl-C does; return what they have finished."""
    running = [node for node in runs if node.running]
    for node in running:
        node.actor.stop.remote()
    ready, _ = ray.wait([node.answer for node in running], num_returns=len(running), timeout=STOP_S)
    nodes = {}
    for node in runs:
        nodes[node.node_id] = node.failed(f"{STOPPED} before it had finished anything")
        if node.answer in ready:
            with suppress(ray.exceptions.RayError):
                nodes[node.node_id] = ended(node, *ray.get(node.answer))
    return nodes


def take_answer(
    ray: Any,
    ref: Any,
    waiting: dict[Any, NodeRun],
    command: NodeCommand,
    done: dict[str, Node],
    tell: Callable[[str], None],
) -> None:
    """Start the command on a node that is ready, or store the result of one that has ended."""
    node = waiting.pop(ref)
    try:
        answer = ray.get(ref)
    except ray.exceptions.RayError as error:
        result = node.failed(why_lost(ray, error))
    else:
        if not node.running:
            device = command.device or ("all" if node.gpus else "cpu")
            node.answer = node.actor.run.remote(["--device", device, *command.arguments], command.baseline)
            waiting[node.answer] = node
            tell(f"{node.name}: runs on {device}")
            return
        result = ended(node, *answer)
    done[node.node_id] = result
    tell(f"{node.name}: {result.failed or 'done'}")


def poll(ray: Any, waiting: dict[Any, NodeRun], done: dict[str, Node], tell: Callable[[str], None]) -> None:
    """Give up nodes that did not start in time, and report the progress of the others."""
    for ref, node in list(waiting.items()):
        if not node.running and time.monotonic() - node.started_s > START_S:
            del waiting[ref]
            devices = f"{node.gpus:g} GPUs" if node.gpus else f"{node.cpus:g} CPUs"
            reason = f"its {devices} did not become free in {START_S:.0f} s: other work of this Ray cluster holds them"
            done[node.node_id] = node.failed(reason)
            tell(f"{node.name}: {reason}")
        elif node.running:
            with suppress(ray.exceptions.RayError):  # `take_answer` handles a node that is lost
                progress = ray.get(node.actor.progress.remote(), timeout=POLL_S)
                if progress and progress != node.progress:
                    node.progress = progress
                    tell(f"{node.name}: {progress}")


def ended(node: NodeRun, code: int, written: bytes | None, last_line: str) -> Node:
    if written is None:
        message = last_line.removeprefix("kernels_bench: ")[:MOST_QUOTED] or "nothing"
        return node.failed(f"no report: it ended with {code} and said: {message}")
    try:
        return Node(node.name, node.node_id, msgspec.json.decode(written, type=Report))
    except msgspec.DecodeError as error:
        return node.failed(f"its kernels_bench has another version: {error}")


def why_lost(ray: Any, error: Exception) -> str:
    lost = ray.exceptions.NodeDiedError | ray.exceptions.ActorUnavailableError | ray.exceptions.ActorDiedError
    if isinstance(error, lost):
        return f"its machine or its Ray process died: {first_line(error)}"
    return first_line(error)
