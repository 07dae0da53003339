"""engine_probe: what a vLLM engine really does, iteration by iteration.

    with Probe(llm, out="runs/first") as probe:
        llm.generate(prompts, params)
    probe.run.iterations.to_pandas()

Importing this loads neither torch, vllm nor pyarrow and changes nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from engine_probe.errors import (
    EngineProbeError,
    IncompleteRecordingWarning,
    InputError,
    UnavailableError,
    UnsupportedVersionError,
)

if TYPE_CHECKING:
    from engine_probe.probe import Probe
    from engine_probe.report.swept import Swept, load_sweep
    from engine_probe.run import Run, load

__all__ = [
    "EngineProbeError",
    "IncompleteRecordingWarning",
    "InputError",
    "Probe",
    "Run",
    "Swept",
    "UnavailableError",
    "UnsupportedVersionError",
    "load",
    "load_sweep",
]

_HOMES = {
    "Probe": "engine_probe.probe",
    "Run": "engine_probe.run",
    "Swept": "engine_probe.report.swept",
    "load": "engine_probe.run",
    "load_sweep": "engine_probe.report.swept",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'engine_probe' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
