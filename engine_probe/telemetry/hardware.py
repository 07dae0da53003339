"""The machine's description for `run.json`, with the ceilings and the cost of the probe that were measured on it."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pynvml

from engine_probe.record import probe_calibration
from engine_probe.telemetry.gpu_choice import open_gpus
from kernels_bench.devices.ceilings import read_ceilings
from kernels_bench.devices.cpu import cpu


def hardware_facts(ranks: Sequence[str] = ()) -> dict[str, Any]:
    """Return the CPU and every GPU, with what `engine_probe validate` and `overhead` have stored for them.

    `ranks` are the UUIDs of GPUs that an engine runs on, which this process need not see.
    """
    host = cpu()
    calibration = probe_calibration.read(host.identity)
    return {
        "host": {"name": host.name, "cores": host.cores, "memory_bytes": host.memory_bytes},
        "gpus": (gpus := visible_gpus(ranks)),
        "ceilings": {
            identity: msgspec.to_builtins(ceilings)
            for identity in (host.identity, *(torch_identity(gpu["uuid"]) for gpu in gpus))
            if (ceilings := read_ceilings(identity))
        },
        "probe_uncounted": msgspec.to_builtins(calibration.uncounted),
        "probe_collective_ns": calibration.collective_ns,
    }


def torch_identity(uuid: str) -> str:
    """Return the UUID in torch's form, under which ceilings are stored: it begins with GPU- for a MIG instance, too."""
    return f"GPU-{uuid.partition('-')[2]}"


def visible_gpus(ranks: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return the GPUs that CUDA shows to this process or that are the ranks'; none if no driver answers.

    `doctor` explains that.
    """
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        gpus, _ = open_gpus(pynvml, ranks=ranks)
        return [{"name": gpu.name, "uuid": gpu.uuid, "memory_bytes": gpu.memory_bytes} for gpu in gpus]
    except pynvml.NVMLError:
        return []
    finally:
        pynvml.nvmlShutdown()
