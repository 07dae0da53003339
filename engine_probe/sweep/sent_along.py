"""What an engine on another machine gets from here: the user's variables, and the files that its points read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from engine_probe.errors import UnavailableError
from engine_probe.sweep.plan import EngineSection, Point
from engine_probe.workload.dataset import Dataset
from engine_probe.workload.trace import Trace

# What a user sets for vLLM is meant for the engines, wherever they run. Addresses and folders are each machine's own.
CARRIED = ("VLLM_", "NCCL_", "OMP_", "TORCH")
NOT_CARRIED = frozenset({"VLLM_HOST_IP", "VLLM_PORT", "VLLM_RPC_BASE_PATH", "VLLM_CACHE_ROOT", "VLLM_CONFIG_ROOT"})


def carried(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(CARRIED) and name not in NOT_CARRIED}


def datasets_of(point: Point, sent: set[str]) -> dict[str, bytes]:
    """What the point reads, unless that machine has it already; `sent` remembers."""
    prompts = point.workload.prompts
    if not isinstance(prompts, Dataset | Trace) or prompts.path in sent:
        return {}
    sent.add(prompts.path)
    try:
        return {prompts.path: Path(prompts.path).read_bytes()}
    except OSError as error:
        raise UnavailableError(f"{prompts.path} cannot be read any longer: {error.strerror}") from error


def from_anywhere(engine: EngineSection) -> EngineSection:
    """The same model folder there, whatever folder the worker's process runs in."""
    local = Path(engine.model).expanduser()
    return msgspec.structs.replace(engine, model=str(local.absolute())) if local.is_dir() else engine
