"""The machines of a Ray cluster. The only module that knows Ray."""

from __future__ import annotations

import logging
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from engine_probe.errors import InputError, UnavailableError, UnsupportedVersionError
from engine_probe.hook.vllm_versions import SUPPORTED_TEXT, is_supported
from engine_probe.sweep.execution.events import Placed
from engine_probe.sweep.fleet import installed_versions
from engine_probe.sweep.fleet.installed_versions import NONE, VLLM, installed
from engine_probe.sweep.fleet.machine_cluster import MachineWorker
from engine_probe.sweep.fleet.remote_engine import RemoteEngine
from engine_probe.sweep.fleet.resources import EngineShare, RayNode
from page_kit.plain_text import first_line

LOCAL, AUTO = "local", "auto"
REACH_SECONDS = 5.0
SURVEY_SECONDS = 120.0  # the first process on a machine may have to be started
NODE_LABEL = "ray.io/node-id"
GPU_KIND = "accelerator_type:"


@contextmanager
def connected(address: str) -> Iterator[RayCluster]:
    """Connect to a cluster; whatever was started on it ends with the block."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault(
        "RAY_DEDUP_LOGS_SKIP_REGEX", ".*"
    )  # pages of a dying node's log; the sweep itself says what it means
    try:
        import ray
    except ImportError as error:
        raise UnavailableError("--ray needs the extra `ray`: pip install 'engine-probe[ray]'") from error
    check_address(address)
    options: dict[str, Any] = {"include_dashboard": False} if address == LOCAL else {}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **options)
    except Exception as error:  # connection, versions, session folders: Ray's own words say which
        raise UnavailableError(f"--ray {address}: {first_line(error)}") from error
    try:
        yield RayCluster()
    finally:
        ray.shutdown()


def check_address(address: str) -> None:
    """Refuse an address at which nothing answers; Ray itself would try for minutes."""
    if "://" in address:
        raise InputError(
            f"--ray {address}: give auto, local or HOST:PORT of the cluster's head; this command itself has to run on "
            "a machine of the cluster (`ray job submit` brings it there)"
        )
    if address == LOCAL:
        return
    where = address if address != AUTO else address_of_auto()
    if where is None:
        raise UnavailableError("--ray auto: no cluster runs on this machine; `ray start` begins one, --ray local too")
    host, _, port = where.rpartition(":")
    if not host or not port.isdecimal():
        raise InputError(f"--ray {where}: give auto, local or HOST:PORT of the cluster's head")
    try:
        socket.create_connection((host, int(port)), REACH_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UnavailableError(f"--ray {address}: nothing answers at {where} ({error}): name a running head") from error


def address_of_auto() -> str | None:
    """Return the address that Ray itself would use. None if no cluster runs here."""
    address_file = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()) / "ray" / "ray_current_cluster"
    if given := os.environ.get("RAY_ADDRESS"):
        return given
    return address_file.read_text().strip() if address_file.is_file() else None


class RayCluster:
    """The `MachineCluster` of Ray; every answer is a future of Python's own."""

    def nodes(self) -> list[RayNode]:
        import ray

        return [node_of(entry) for entry in ray.nodes() if entry["Alive"]]

    def start_worker(self, claim: EngineShare, avoid: frozenset[str], *remote_engine: Any) -> MachineWorker:
        import ray

        options: dict[str, Any] = {
            "num_cpus": claim.cpus,
            "num_gpus": claim.gpus,
            "max_restarts": 0,
            "max_task_retries": 0,
        }
        if avoid:
            options["label_selector"] = {NODE_LABEL: f"!in({','.join(sorted(avoid))})"}
        return RayWorker(ray.remote(RayEngine).options(**options).remote(*remote_engine))

    def lost(self, error: BaseException) -> str | None:
        from ray import exceptions

        if isinstance(error, exceptions.RayTaskError) or not isinstance(error, exceptions.RayError):
            return None  # an error of ours, raised there
        if isinstance(error, exceptions.OutOfMemoryError):
            return "out of memory, so Ray ended its process"
        if isinstance(error, exceptions.NodeDiedError | exceptions.ActorUnavailableError):
            return "no answer any longer"
        return f"its Ray process died ({type(error).__name__})"

    def check_installed(self, nodes: list[RayNode], force: bool) -> None:
        """Refuse machines that differ in what is installed: their figures would be of different programs."""
        here = installed()
        for node, versions in self.survey(nodes):
            if versions[VLLM] == NONE:
                raise UnavailableError(f"{node.host} has no vLLM: install the same one on every machine of the fleet")
            if not (force or is_supported(versions[VLLM].split()[-1])):
                raise UnsupportedVersionError(
                    f"{node.host} has {versions[VLLM]}, which is not among the versions the probe knows "
                    f"({SUPPORTED_TEXT}): install one of those, or pass --force and check the figures"
                )
            if here[VLLM] == NONE:
                here[VLLM] = versions[VLLM]  # this machine runs no engine; the others have to agree
            for what, version in versions.items():
                if version != here[what]:
                    raise UnavailableError(
                        f"{node.host} has {what} {version} and not {here[what]}: install the same on every machine"
                    )

    def survey(self, nodes: list[RayNode]) -> list[tuple[RayNode, dict[str, str]]]:
        """Return what is installed on each machine; all are asked at the same time."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        ray.cloudpickle.register_pickle_by_value(installed_versions)  # it answers where engine_probe is missing, too
        try:
            ask = ray.remote(num_cpus=0, max_retries=0)(installed_versions.installed)
            there = [NodeAffinitySchedulingStrategy(node.id, soft=False) for node in nodes]
            calls = [ask.options(scheduling_strategy=strategy).remote() for strategy in there]
            return [(node, answer(call, node)) for node, call in zip(nodes, calls, strict=True)]
        finally:
            ray.cloudpickle.unregister_pickle_by_value(installed_versions)


def answer(call: Any, node: RayNode) -> dict[str, str]:
    import ray

    try:
        found: dict[str, str] = ray.get(call, timeout=SURVEY_SECONDS)
    except ray.exceptions.RayError as error:
        raise UnavailableError(f"{node.host} does not answer: {first_line(error)}") from error
    return found


class RayEngine(RemoteEngine):
    """A `RemoteEngine` that knows Ray's id of its machine."""

    def where(self) -> Placed:
        import ray

        return msgspec.structs.replace(super().where(), node=ray.get_runtime_context().get_node_id())


class RayWorker:
    """A `RayEngine` that is an actor: each of its methods is called there, and answered with a future."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def __getattr__(self, method: str) -> Callable[..., Any]:
        return lambda *arguments: getattr(self._actor, method).remote(*arguments).future()

    def kill(self) -> None:
        import ray

        ray.kill(self._actor)


def node_of(entry: dict[str, Any]) -> RayNode:
    """Return an entry of Ray's list of machines as a `RayNode`."""
    has = entry["Resources"]
    kinds = [name.removeprefix(GPU_KIND) for name in has if name.startswith(GPU_KIND)]
    return RayNode(entry["NodeID"], entry["NodeManagerHostname"], has.get("CPU", 0), has.get("GPU", 0), " ".join(kinds))
