"""What all tests share: GPU tests are skipped where there is none, and the skips are counted aloud."""

from __future__ import annotations

import os

import hypothesis
import pytest

# Before torch is loaded: on cores that others use too, OpenMP's spinning makes a step of a tiny engine take a second.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# No test depends on how fast the machine is.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")

NO_GPU = "no NVIDIA GPU on this machine"


def gpu_count() -> int:
    """By NVML, so that looking for a GPU does not import torch."""
    import pynvml

    try:
        pynvml.nvmlInit()
        return int(pynvml.nvmlDeviceGetCount())
    except pynvml.NVMLError:
        return 0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    needing = [item for item in items if item.get_closest_marker("gpu")]
    if needing and gpu_count() == 0:
        for item in needing:
            item.add_marker(pytest.mark.skip(reason=NO_GPU))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = [report for report in terminalreporter.stats.get("skipped", []) if NO_GPU in str(report.longrepr)]
    terminalreporter.write_line(f"{len(skipped)} GPU tests skipped{': ' + NO_GPU if skipped else ''}")
