"""Importing engine_probe stays light, and each room imports only what it may."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "engine_probe"
HEAVY = {"torch", "vllm", "transformers", "pyarrow", "numpy"}

# room -> what it must never import
FORBIDDEN = {
    "record": {"torch", "vllm", "engine_probe.hook", "engine_probe.engine", "engine_probe.sweep"},
    "hook": {"engine_probe.engine", "engine_probe.sweep", "engine_probe.commands"},
    "analysis": {
        "torch",
        "vllm",
        "engine_probe.hook",
        "engine_probe.engine",
        "engine_probe.sweep",
        "engine_probe.report",
        "engine_probe.recordings",  # it takes tables, never an opened run
        "engine_probe.evaluation",
        "engine_probe.export",
        "engine_probe.commands",
    },
    "report": {"torch", "vllm", "engine_probe.hook", "engine_probe.engine", "engine_probe.sweep"},
    "workload": {
        "torch",
        "engine_probe.hook",
        "engine_probe.record",
        "engine_probe.telemetry",
        "engine_probe.analysis",
        "engine_probe.sweep",
        "engine_probe.report",
        "engine_probe.commands",
    },
    "perplexity": {
        "torch",
        "engine_probe.hook",
        "engine_probe.record",
        "engine_probe.analysis",
        "engine_probe.sweep",
        "engine_probe.report",
        "engine_probe.commands",
    },
    "telemetry": {
        "torch",
        "vllm",
        "engine_probe.hook",
        "engine_probe.engine",
        "engine_probe.workload",
        "engine_probe.analysis",
        "engine_probe.sweep",
        "engine_probe.report",
        "engine_probe.commands",
    },
    "engine": {"engine_probe.hook", "engine_probe.record", "engine_probe.sweep", "engine_probe.commands"},
}

# The one call upwards: what a notebook shows is drawn by the report, and imported when it is asked for.
ALLOWED = {
    "analysis/run/summary.py": {
        "engine_probe.report.renderers.notebook",
        "engine_probe.report.renderers.notebook.summary_html",
    },
}

# Ranks are counted in one module: plain arithmetic, for every room.
FOR_ALL = "engine_probe.engine.parallelism"

KERNELS_BENCH = PACKAGE.parent / "kernels_bench"


def imported_by(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@pytest.mark.parametrize("room", FORBIDDEN)
def test_a_room_imports_only_what_it_may(room: str) -> None:
    files = list((PACKAGE / room).rglob("*.py"))
    assert files
    for path in files:
        for name in imported_by(path) - ALLOWED.get(str(path.relative_to(PACKAGE)), set()):
            broken = [rule for rule in FORBIDDEN[room] if name == rule or name.startswith(rule + ".")]
            broken = [] if name.startswith(FOR_ALL) else broken
            assert not broken, f"{path.relative_to(PACKAGE)} imports {name}"


def test_kernels_bench_runs_alone() -> None:
    """With torch and the core dependencies: nothing of engine_probe, and no vLLM."""
    files = list(KERNELS_BENCH.rglob("*.py"))
    assert files
    for path in files:
        rooms = {name.partition(".")[0] for name in imported_by(path)}
        assert not rooms & {"engine_probe", "vllm", "transformers", "pyarrow"}, path.name


@pytest.mark.parametrize(
    "line",
    [
        "import engine_probe",
        "from engine_probe.cli import cli; cli(['--help'], 'x', standalone_mode=False)",
        "from engine_probe.cli import cli; cli(['profile', '--help'], 'x', standalone_mode=False)",
        "from engine_probe.cli import cli; cli(['sweep', '--help'], 'x', standalone_mode=False)",
        "import kernels_bench",
        "from kernels_bench.cli import command; command(['--help'], 'x', standalone_mode=False)",
    ],
)
def test_importing_loads_nothing_heavy(line: str) -> None:
    program = f"{line}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert not loaded & HEAVY
