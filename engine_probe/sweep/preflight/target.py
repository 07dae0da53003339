"""What a dry run predicts for: this machine, GPUs of a kind that need not be here, or the machines of a fleet."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from engine_probe.engine.engine_spec import EngineSpec
from engine_probe.engine.memory_model import RankMemory
from engine_probe.errors import InputError
from engine_probe.sweep.definition.sweep_file import Point
from engine_probe.sweep.execution.oversized_points import beyond_fleet, beyond_machine, refused
from engine_probe.sweep.fleet.ray_cluster import connected
from engine_probe.sweep.fleet.resources import RayNode
from engine_probe.sweep.preflight.duration_estimate import (
    DeviceSpeed,
    Estimate,
    estimate_together,
    measured_speed,
    speed_here,
)
from engine_probe.sweep.preflight.earlier_sweeps import Past, earlier
from engine_probe.sweep.preflight.gpu_memory import GpuMemory, check_memory, memories, named_gpu, smallest_gpu
from engine_probe.sweep.preflight.host_memory_shares import HostMemory, host_memories
from engine_probe.sweep.preflight.recorded_prices import RecordedPrices
from engine_probe.telemetry.hardware import hardware_facts

RUNS = Path("runs")  # where results are written that are given no place

Memory = RankMemory | HostMemory  # of an engine


class Target(NamedTuple):
    """A machine, or several, with what was measured there."""

    gpu: GpuMemory | None = None  # the smallest here, or the named one
    hardware: dict[str, Any] | None = None  # of this machine; None for a named GPU and for a fleet
    past: Sequence[Past] = ()  # points that were measured earlier on this hardware
    where: Path = RUNS  # the folder in which they were looked for
    nodes: list[RayNode] | None = None  # of a fleet, of whose speed and memory nothing is known here
    here: DeviceSpeed | None = None  # of this machine; without it, what the hardware says was measured

    @property
    def is_fleet(self) -> bool:
        return self.nodes is not None

    @property
    def speed(self) -> DeviceSpeed | None:
        return self.gpu.speed if self.gpu and self.gpu.speed else self.here or measured_speed(self.hardware or {})

    @property
    def of_datasheet(self) -> bool:
        """Return whether the speed is that of a datasheet or of a report of kernels, and was not measured here."""
        return bool(self.speed and self.speed.of)

    def beyond(self, found: Sequence[Point]) -> dict[str, str]:
        """Return the points that there is no room for, each with its reason."""
        if self.nodes is not None:
            return beyond_fleet(found, self.nodes)
        if self.hardware is not None:
            return beyond_machine(found, self.hardware["gpus"], self.hardware["host"]["memory_bytes"])
        return refused(found, lambda point: check_memory(self.gpu, [point]))

    def memories(self, found: Sequence[Point]) -> dict[EngineSpec, Memory]:
        """Return the memory of each engine on the GPU, or on this machine without one; empty for a fleet."""
        if self.gpu is not None:
            return {**memories(self.gpu, found)}
        return {} if self.hardware is None else {**host_memories(found)}

    def estimates(self, found: Sequence[Point]) -> dict[str, Estimate | None]:
        """Return how long each point takes, by its key. None where nothing tells."""
        speed, prices = self.speed, RecordedPrices(self.past)
        return {point.key: estimate_together(point, self.past, speed, prices) for point in found}


def target_of(like: Path | None, device: str | None, address: str | None) -> Target:
    """Return the GPU or the fleet that is named, or else this machine; `like` is the folder of earlier sweeps."""
    if device is not None and (like or address):
        raise InputError(f"--device {device} predicts by a datasheet: leave {'--like' if like else '--ray'} out")
    if like is not None and not like.is_dir():
        raise InputError(f"--like {like}: there is no such folder: name a folder with earlier sweeps")
    if device is not None:
        return Target(named_gpu(device))
    if address is None:
        return this_machine(like or RUNS)
    with connected(address) as cluster:
        return Target(nodes=cluster.nodes())


def this_machine(where: Path = RUNS) -> Target:
    """Return this machine with what the sweeps in a folder measured on it."""
    hardware = hardware_facts()
    gpu, past = smallest_gpu(hardware["gpus"]), earlier(where, hardware)
    return Target(gpu, hardware, past, where, here=speed_here(hardware))
