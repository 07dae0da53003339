"""The choice of GPUs to sample: those that CUDA shows to this process, and those of an engine's ranks.

CUDA and NVML number GPUs differently, and a container hides process ids. So the GPUs of the ranks are told by their
UUIDs, which the workers ask torch for.
"""

import os
from collections.abc import Sequence
from typing import Any

from engine_probe.telemetry.gpus import GpuReader

VISIBLE = "CUDA_VISIBLE_DEVICES"
ORDER = "CUDA_DEVICE_ORDER"


def open_gpus(nvml: Any, ranks: Sequence[str] = ()) -> tuple[list[GpuReader], list[str]]:
    """Return the GPUs that CUDA shows to this process and those of the ranks, and notes about the choice.

    `ranks` are the UUIDs of the ranks' GPUs; a process that starts its workers elsewhere may see none of them.
    """
    gpus, notes = _visible_gpus(nvml)
    for uuid in dict.fromkeys(ranks):
        if not any(same_device(gpu.uuid, uuid) for gpu in gpus):
            try:
                gpus.append(_gpu_by_uuid(nvml, uuid))
            except nvml.NVMLError as error:
                notes.append(f"{uuid}, on which a rank runs, is not sampled: NVML does not know it here ({error})")
    if ranks:
        for gpu in gpus:
            gpu.runs_rank = any(same_device(gpu.uuid, uuid) for uuid in ranks)
    return _one_of_each(gpus, notes), notes


def same_device(uuid: str, other: str) -> bool:
    """Compare two UUIDs without what precedes them: torch says GPU- also of a MIG instance."""
    return uuid.partition("-")[2] == other.partition("-")[2]


def _one_of_each(gpus: list[GpuReader], notes: list[str]) -> list[GpuReader]:
    """Keep one entry of each GPU: rows tell GPUs apart by their number, which the instances of one share."""
    kept: dict[int, GpuReader] = {}
    for gpu in sorted(gpus, key=lambda gpu: not gpu.runs_rank):
        if kept.setdefault(gpu.device, gpu) is not gpu and gpu.uuid != kept[gpu.device].uuid:
            notes.append(
                f"device {gpu.device}: {gpu.uuid} is not sampled beside {kept[gpu.device].uuid} of the same GPU"
            )
    return [gpu for gpu in gpus if kept[gpu.device] is gpu]


def _visible_gpus(nvml: Any) -> tuple[list[GpuReader], list[str]]:
    visible = os.environ.get(VISIBLE)
    if visible is None:
        return [GpuReader(nvml, handle) for handle in _all_handles(nvml)], []
    gpus, notes = [], []
    for name in filter(None, (entry.strip() for entry in visible.split(","))):
        try:
            gpus.append(_named_gpu(nvml, name))
        except nvml.NVMLError as error:  # CUDA also ignores what follows such a name
            notes.append(f"{VISIBLE} names {name}, which NVML does not know ({error}): nothing after it is sampled")
            break
    by_number = any(entry.strip().isdigit() for entry in visible.split(","))
    if by_number and os.environ.get(ORDER) != "PCI_BUS_ID":
        models = {nvml.nvmlDeviceGetName(handle) for handle in _all_handles(nvml)}
        if len(models) > 1:
            notes.append(f"the GPUs differ and {ORDER} is not PCI_BUS_ID: NVML's numbers may not be CUDA's")
    return gpus, notes


def _all_handles(nvml: Any) -> list[Any]:
    return [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]


def _named_gpu(nvml: Any, name: str) -> GpuReader:
    """Open a GPU by its number or UUID, which may be shortened, or a MIG instance by its UUID."""
    if name.startswith(("GPU-", "MIG-")):
        return _gpu_by_uuid(nvml, _whole_uuid(nvml, name))
    if not name.isdecimal():
        raise nvml.NVMLError_NotFound
    return GpuReader(nvml, nvml.nvmlDeviceGetHandleByIndex(int(name)))


def _whole_uuid(nvml: Any, name: str) -> str:
    """Complete the UUID of a GPU, which CUDA accepts if no other begins like it."""
    uuids = [nvml.nvmlDeviceGetUUID(handle) for handle in _all_handles(nvml)]
    begin_so = [uuid for uuid in uuids if uuid.startswith(name)]
    return begin_so[0] if len(begin_so) == 1 else name


def _gpu_by_uuid(nvml: Any, uuid: str) -> GpuReader:
    """Open a GPU or a MIG instance; torch says GPU- of both."""
    try:
        handle = nvml.nvmlDeviceGetHandleByUUID(uuid)
    except nvml.NVMLError:
        uuid = uuid.replace("GPU-", "MIG-")
        handle = nvml.nvmlDeviceGetHandleByUUID(uuid)
    if uuid.startswith("GPU-"):
        return GpuReader(nvml, handle)
    return GpuReader(nvml, nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle), instance=handle)
