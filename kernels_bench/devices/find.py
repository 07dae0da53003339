"""Which devices are meant, and what each is before anything runs on it."""

from __future__ import annotations

import re
from typing import Any

import torch

from kernels_bench.devices.cpu import cpu, host_free_bytes
from kernels_bench.errors import InputError, UnavailableError
from kernels_bench.results import Device


def find_devices(wanted: str | None) -> tuple[Device, ...]:
    """`cpu`, `all`, `cuda`, `cuda:0,1`; without a wish every card, or the processor where there is none."""
    if wanted is None:
        wanted = "all" if torch.cuda.is_available() else "cpu"
    if wanted == "cpu":
        return (cpu(),)
    return tuple(_cuda(index) for index in wanted_cards(wanted, _cards()))


def wanted_cards(wanted: str, cards: int) -> tuple[int, ...]:
    """The numbers in `cuda:0,1`, each of them there."""
    form = re.fullmatch(r"all|cuda|cuda:(\d+(?:,(?:cuda:)?\d+)*)", wanted)
    if form is None:
        raise InputError(f'--device is "{wanted}", expected cpu, all, or cards such as cuda:0,1')
    if not cards:
        raise UnavailableError(f"--device {wanted}: {_no_cuda()}; use --device cpu for the processor's figures")
    if form[1] is None:
        return tuple(range(cards)) if wanted == "all" else (0,)
    indices = tuple(dict.fromkeys(int(number) for number in re.findall(r"\d+", form[1])))
    for index in indices:
        if index >= cards:
            last = f"cuda:0 to cuda:{cards - 1}" if cards > 1 else "cuda:0 only"
            raise InputError(f"--device names cuda:{index}, and torch sees {last}: see nvidia-smi -L")
    return indices


def free_bytes(device: Device) -> int:
    """What may be taken without taking it from anybody."""
    if not device.is_cuda:
        return host_free_bytes()
    place = torch.device(device.target)
    kept = torch.cuda.memory_reserved(place) - torch.cuda.memory_allocated(place)  # by torch, for its next tensor
    return int(torch.cuda.mem_get_info(place)[0]) + int(kept)


def release(device: Device) -> None:
    """Gives memory that torch keeps for later back to the card, and pinned memory back to the host: it lies on the NUMA
    node of the card that was measured, which need not be the next one's."""
    if device.is_cuda:
        torch.cuda.synchronize(torch.device(device.target))
        torch.cuda.empty_cache()
        torch._C._host_emptyCache()


def _cards() -> int:
    return int(torch.cuda.device_count()) if torch.cuda.is_available() else 0


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
    """As NVML and nvidia-smi write it."""
    return text if text.startswith(("GPU-", "MIG-")) else f"GPU-{text}"
