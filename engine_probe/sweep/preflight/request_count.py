"""How many requests a point asks, counted in the file where they come from one."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from engine_probe.sweep.definition.sweep_file import WorkloadSection
from engine_probe.workload.dataset_file import Dataset, read_entries
from engine_probe.workload.trace_file import Trace, answered


def requests_of(work: WorkloadSection) -> int | None:
    """None where the file is not here, or chance or the model's tokenizer decides which of it are asked."""
    if work.requests is not None or work.num_prompts is not None or not isinstance(work.prompts, Dataset | Trace):
        return work.requests
    return counted(work.prompts)


@cache
def counted(prompts: Dataset | Trace) -> int | None:
    if not Path(prompts.path).is_file():
        return None
    if isinstance(prompts, Trace):
        return len(answered(prompts)[0])
    return None if prompts.max_total_len else sum(map(len, read_entries(prompts)))
