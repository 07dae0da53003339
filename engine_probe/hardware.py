"""What this machine is, and what it was measured to reach: for `run.json`, so that a recording carries its ceilings."""

from __future__ import annotations

from typing import Any

import msgspec
import pynvml

from kernels_bench.ceilings import read_ceilings
from kernels_bench.processor import cpu


def hardware_facts() -> dict[str, Any]:
    """The processor and every GPU by NVML, each with the ceilings that `engine_probe validate` stored, if it did."""
    host = cpu()
    return {
        "host": {"name": host.name, "cores": host.cores, "memory_bytes": host.memory_bytes},
        "gpus": (gpus := visible_gpus()),
        "ceilings": {
            identity: msgspec.to_builtins(known)
            for identity in (host.identity, *(gpu["uuid"] for gpu in gpus))
            if (known := read_ceilings(identity))
        },
    }


def visible_gpus() -> list[dict[str, Any]]:
    """None where there is no driver, or it does not answer: that is `doctor`'s to explain."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        return [gpu(pynvml.nvmlDeviceGetHandleByIndex(index)) for index in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError:
        return []
    finally:
        pynvml.nvmlShutdown()


def gpu(handle: Any) -> dict[str, Any]:
    return {
        "name": str(pynvml.nvmlDeviceGetName(handle)),
        "uuid": str(pynvml.nvmlDeviceGetUUID(handle)),
        "memory_bytes": int(pynvml.nvmlDeviceGetMemoryInfo(handle).total),
    }
