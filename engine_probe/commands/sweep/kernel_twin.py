"""The twin of one engine on a device that `kernels_bench` measured."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from engine_probe.engine.memory_model import BLOCK, batch_limits, memory_of_rank, window_of_all
from engine_probe.engine.models.geometry import geometry
from engine_probe.engine.twin.build import check_twin
from engine_probe.engine.twin.kernels.derived_times import derived_times
from engine_probe.engine.twin.kernels.measured_kernels import Kernels
from engine_probe.engine.twin.settings import Twin
from engine_probe.errors import InputError
from engine_probe.sweep.definition.kv_demand import longest
from engine_probe.sweep.definition.sweep_file import Point
from engine_probe.sweep.preflight.device_plan import check_start, configuration


def kernel_twin(kernels: Kernels, path: Path, points: Sequence[Point]) -> Twin:
    """Return the twin of one engine; refuse one that cannot start on the device, or whose times are not derivable."""
    spec, name = points[0].engine.spec, f"--twin {path}"
    accepted = check_twin(spec)
    config, device = configuration(spec.model), kernels.device
    most = max(longest(point.workload) or 2 for point in points)
    check_window(config, spec.arguments, most, name)
    batch = batch_limits(spec.arguments, device.name, float(device.memory_bytes))
    if device.is_cuda:
        check_start(spec.model, geometry(config), spec.arguments, batch, most)
    times = derived_times(config, spec.arguments, batch, kernels, name)
    if accepted:  # vLLM captures other sizes for drafts
        times = msgspec.structs.replace(times, graph_sizes=())
    limits = {
        "max_num_batched_tokens": batch[0],
        "max_num_seqs": batch[1],
        "async_scheduling": device.is_cuda,
        **pool(kernels, config, spec.arguments, most, name),
    }
    return Twin(f"the kernels of {device.name} in {path}", times, limits, acceptance=accepted)


def check_window(config: Mapping[str, Any], arguments: Mapping[str, Any], most: int, name: str) -> None:
    """Refuse requests longer than the model's sliding window, of which derived times would count all tokens."""
    window = window_of_all(config, arguments)
    if window is not None and most > window:
        raise InputError(
            f"{name}: requests of {most:,} tokens are longer than the model's sliding window of {window:,}, and step "
            "times that are not calibrated count the whole context: ask for shorter ones, or set "
            "engine.arguments.disable_sliding_window"
        )


def pool(
    kernels: Kernels, config: Mapping[str, Any], arguments: Mapping[str, Any], most: int, name: str
) -> dict[str, Any]:
    """Return the KV pool that the device's memory holds, unless the sweep gives its blocks."""
    device, block = kernels.device, arguments.get("block_size", BLOCK)
    if "num_gpu_blocks_override" in arguments:
        return {"block_size": block}
    if not device.is_cuda:
        raise InputError(
            f"{name}: how large vLLM's KV pool on {device.name} would be is not known: give "
            f"engine.arguments.num_gpu_blocks_override"
        )
    memory = memory_of_rank(config, arguments, device.name, float(device.memory_bytes), most)
    if memory is None:
        raise InputError(f"{name}: the memory of model_type {config.get('model_type')!r} is not known here")
    if memory.refusal:
        raise InputError(f"{name}: the engine cannot start: {memory.refusal}")
    return {"block_size": memory.layout.block_size, "num_gpu_blocks_override": memory.blocks + 1}  # vLLM's null block
