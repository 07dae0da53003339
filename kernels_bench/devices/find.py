"""The devices that `--device` names."""

import re
from typing import Any

import torch

from kernels_bench.devices.cpu import cpu, host_free_bytes
from kernels_bench.errors import InputError, UnavailableError
from kernels_bench.results import Device


def find_devices(wanted: str | None) -> tuple[Device, ...]:
    """Return the devices of `cpu`, `all`, `cuda` or `cuda:0,1`; by default all GPUs, or the CPU if there are none."""
    if wanted is None:
        wanted = "all" if torch.cuda.is_available() else "cpu"
    if wanted == "cpu":
        return (cpu(),)
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return tuple(_cuda(index) for index in wanted_gpus(wanted, count))


def wanted_gpus(wanted: str, count: int) -> tuple[int, ...]:
    """Return the GPU numbers that `cuda:0,1` names; refuse one that does not exist."""
    match = re.fullmatch(r"all|cuda|cuda:(\d+(?:,(?:cuda:)?\d+)*)", wanted)
    if match is None:
        raise InputError(f'--device is "{wanted}", expected cpu, all, or GPUs such as cuda:0,1')
    if not count:
        raise UnavailableError(f"--device {wanted}: {_no_cuda()}; use --device cpu for the CPU's figures")
    if match[1] is None:
        return tuple(range(count)) if wanted == "all" else (0,)
    indices = tuple(dict.fromkeys(int(number) for number in re.findall(r"\d+", match[1])))
    for index in indices:
        if index >= count:
            visible = f"cuda:0 to cuda:{count - 1}" if count > 1 else "cuda:0 only"
            raise InputError(f"--device names cuda:{index}, and torch sees {visible}: see nvidia-smi -L")
    return indices


def free_bytes(device: Device) -> int:
    """Return the memory that this process can still take, including what torch has reserved."""
    if not device.is_cuda:
        return host_free_bytes()
    torch_device = torch.device(device.target)
    reserved = torch.cuda.memory_reserved(torch_device) - torch.cuda.memory_allocated(torch_device)
    return int(torch.cuda.mem_get_info(torch_device)[0]) + int(reserved)


def release(device: Device) -> None:
    """Give the memory that torch reserves back to the GPU, and pinned memory back to the host.

    Pinned memory is on the NUMA node of the GPU that was measured, which may not be that of the next one.
    """
    if device.is_cuda:
        torch.cuda.synchronize(torch.device(device.target))
        torch.cuda.empty_cache()
        torch._C._host_emptyCache()


def _no_cuda() -> str:
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is not built for CUDA"
    return f"torch {torch.__version__} sees no CUDA device (look at nvidia-smi and CUDA_VISIBLE_DEVICES)"


def _cuda(index: int) -> Device:
    facts: Any = torch.cuda.get_device_properties(index)
    uuid = getattr(facts, "uuid", None)
    return Device(
        target=f"cuda:{index}",
        name=facts.name,
        identity=_uuid(str(uuid)) if uuid else f"{facts.name.replace(' ', '-')}-{index}",
        memory_bytes=facts.total_memory,
        cache_bytes=facts.L2_cache_size,
        cores=facts.multi_processor_count,
        capability=f"{facts.major}.{facts.minor}",
    )


def _uuid(text: str) -> str:
    """Return a UUID in the form of NVML and nvidia-smi."""
    return text if text.startswith(("GPU-", "MIG-")) else f"GPU-{text}"
