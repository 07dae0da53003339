"""engine_probe: a profiler that records what a vLLM engine does in every iteration.

    import os
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # before vllm is imported: the engine in this process
    from vllm import LLM
    from engine_probe import Probe, embedded_model

    llm = LLM(embedded_model("tiny"), gpu_memory_utilization=0.3)  # or any model of your own
    with Probe(llm, out="runs/first") as probe:
        llm.generate(["The capital of France is"] * 32)
    print(probe.run, probe.run.summary().ttft.p50_ms)
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
    from engine_probe.engine.models.embedded import embedded_model
    from engine_probe.evaluation.comparison import Comparison, compare
    from engine_probe.evaluation.integrity import integrity
    from engine_probe.evaluation.money.costs import costs
    from engine_probe.evaluation.trend import trend_over
    from engine_probe.probe import Probe
    from engine_probe.recordings.experiment import Experiment, load_experiment
    from engine_probe.recordings.forward_passes import ForwardPasses
    from engine_probe.recordings.opening import load
    from engine_probe.recordings.run import Run
    from engine_probe.recordings.suite import Suite, load_suite
    from engine_probe.recordings.sweep import Swept, load_sweep

    __version__: str

__all__ = [
    "Comparison",
    "EngineProbeError",
    "Experiment",
    "ForwardPasses",
    "IncompleteRecordingWarning",
    "InputError",
    "Probe",
    "Run",
    "Suite",
    "Swept",
    "UnavailableError",
    "UnsupportedVersionError",
    "__version__",
    "compare",
    "costs",
    "embedded_model",
    "integrity",
    "load",
    "load_experiment",
    "load_suite",
    "load_sweep",
    "read_reference",
    "trend_over",
]

_HOMES = {
    "Comparison": "engine_probe.evaluation.comparison",
    "Experiment": "engine_probe.recordings.experiment",
    "ForwardPasses": "engine_probe.recordings.forward_passes",
    "Probe": "engine_probe.probe",
    "Run": "engine_probe.recordings.run",
    "Suite": "engine_probe.recordings.suite",
    "Swept": "engine_probe.recordings.sweep",
    "compare": "engine_probe.evaluation.comparison",
    "costs": "engine_probe.evaluation.money.costs",
    "embedded_model": "engine_probe.engine.models.embedded",
    "integrity": "engine_probe.evaluation.integrity",
    "load": "engine_probe.recordings.opening",
    "load_experiment": "engine_probe.recordings.experiment",
    "load_suite": "engine_probe.recordings.suite",
    "load_sweep": "engine_probe.recordings.sweep",
    "read_reference": "engine_probe.evaluation.published.reference",
    "trend_over": "engine_probe.evaluation.trend",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name not in _HOMES:
        raise AttributeError(f"module 'engine_probe' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def load_ipython_extension(shell: Any) -> None:
    """Add `%%probe` to a notebook: `%load_ext engine_probe`."""
    from engine_probe.notebook_magic import register

    register(shell)


def __dir__() -> list[str]:
    return sorted(__all__)


def _version() -> str:
    """Return the installed version, or that of `pyproject.toml` in a checkout that is not installed."""
    import tomllib
    from importlib.metadata import PackageNotFoundError, version
    from pathlib import Path

    try:
        return version("engine-probe")
    except PackageNotFoundError:
        project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
        return str(project["project"]["version"])
