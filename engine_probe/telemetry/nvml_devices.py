"""The NVIDIA GPUs of this machine, as `doctor` shows them. Nothing here changes a GPU."""

from dataclasses import dataclass
from typing import Any

# NVML's status codes as words, by number.
P2P_STATUS = ("yes", "chipset does not", "GPU does not", "topology does not", "switched off", "no", "unknown")


@dataclass(frozen=True)
class Device:
    """Describes one GPU; a value that NVML does not give is None."""

    index: int
    name: str
    memory_bytes: int | None  # None: it uses the host's memory, as GB10
    used_bytes: int | None
    compute_capability: str | None
    mig: bool | None
    processes: tuple[tuple[int, int | None], ...]  # process id, bytes on the GPU


@dataclass(frozen=True)
class Devices:
    driver: str | None
    cuda: str | None  # the newest version that this driver supports
    devices: tuple[Device, ...]
    peers: tuple[tuple[str, ...], ...]  # peers[i][j]: over what i reads j directly, or why it cannot


def read_devices(nvml: Any) -> Devices:
    """Read all GPUs; `nvml` is the module `pynvml`, already initialised."""
    handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
    cuda = _ask(nvml, "nvmlSystemGetCudaDriverVersion")
    return Devices(
        driver=_ask(nvml, "nvmlSystemGetDriverVersion"),
        cuda=f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda else None,
        devices=tuple(_device(nvml, index, handle) for index, handle in enumerate(handles)),
        peers=tuple(tuple(_peer(nvml, source, target) for target in handles) for source in handles),
    )


def _device(nvml: Any, index: int, handle: Any) -> Device:
    memory = _ask(nvml, "nvmlDeviceGetMemoryInfo", handle)
    capability = _ask(nvml, "nvmlDeviceGetCudaComputeCapability", handle)
    mig = _ask(nvml, "nvmlDeviceGetMigMode", handle)
    processes = _ask(nvml, "nvmlDeviceGetComputeRunningProcesses", handle) or []
    return Device(
        index=index,
        name=nvml.nvmlDeviceGetName(handle),
        memory_bytes=memory.total if memory else None,
        used_bytes=memory.used if memory else None,
        compute_capability=f"{capability[0]}.{capability[1]}" if capability else None,
        mig=bool(mig[0]) if mig is not None else None,
        processes=tuple((process.pid, process.usedGpuMemory) for process in processes),
    )


def _peer(nvml: Any, source: Any, target: Any) -> str:
    if source is target:
        return "itself"
    if _ask(nvml, "nvmlDeviceGetP2PStatus", source, target, nvml.NVML_P2P_CAPS_INDEX_NVLINK) == 0:
        return "NVLink"
    status = _ask(nvml, "nvmlDeviceGetP2PStatus", source, target, nvml.NVML_P2P_CAPS_INDEX_READ)
    if status is None or status >= len(P2P_STATUS):
        return "unknown"
    return "PCIe" if status == 0 else P2P_STATUS[status]


def _ask(nvml: Any, function: str, *arguments: Any) -> Any:
    """Call a function of NVML; None if this GPU or driver does not support it."""
    try:
        return getattr(nvml, function)(*arguments)
    except (nvml.NVMLError, AttributeError):
        return None
