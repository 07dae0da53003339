"""The machine's description for `run.json`, with the ceilings and the cost of the probe that were measured on it."""

from typing import Any

import msgspec
import pynvml

from engine_probe.record import probe_calibration
from engine_probe.telemetry.gpus import open_gpus
from kernels_bench.devices.ceilings import read_ceilings
from kernels_bench.devices.cpu import cpu


def hardware_facts() -> dict[str, Any]:
    """Return the CPU and every GPU, with what `engine_probe validate` and `overhead` have stored for them."""
    host = cpu()
    return {
        "host": {"name": host.name, "cores": host.cores, "memory_bytes": host.memory_bytes},
        "gpus": (gpus := visible_gpus()),
        "ceilings": {
            identity: msgspec.to_builtins(ceilings)
            for identity in (host.identity, *(gpu["uuid"] for gpu in gpus))
            if (ceilings := read_ceilings(identity))
        },
        "probe_uncounted": msgspec.to_builtins(probe_calibration.read(host.identity)),
    }


def visible_gpus() -> list[dict[str, Any]]:
    """Return the GPUs that CUDA shows to this process; none if no driver answers, which `doctor` explains."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        gpus, _ = open_gpus(pynvml)
        return [{"name": gpu.name, "uuid": gpu.uuid, "memory_bytes": gpu.memory_bytes} for gpu in gpus]
    except pynvml.NVMLError:
        return []
    finally:
        pynvml.nvmlShutdown()
