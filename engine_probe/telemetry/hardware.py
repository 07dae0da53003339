"""What this machine is, and what it was measured to reach: for `run.json`, so that a recording carries its ceilings."""

from __future__ import annotations

from typing import Any

import msgspec
import pynvml

from engine_probe.telemetry.cards import open_cards
from kernels_bench.devices.ceilings import read_ceilings
from kernels_bench.devices.cpu import cpu


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
    """Those that CUDA shows to this process; none where no driver answers: that is `doctor`'s to explain."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        cards, _ = open_cards(pynvml)
        return [{"name": card.name, "uuid": card.uuid, "memory_bytes": card.memory_bytes} for card in cards]
    except pynvml.NVMLError:
        return []
    finally:
        pynvml.nvmlShutdown()
