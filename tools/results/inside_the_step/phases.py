"""The section on phases of docs/results/inside_the_step.md: where steps spend their time, beside vLLM's own scopes."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic_ns
from typing import Any

import numpy as np

from engine_probe import Probe, Run
from engine_probe.analysis.step.phases import OUTSIDE, PHASES, StepPhases, phases_over_load
from engine_probe.text_format import duration
from tools.result_page import measured_here, table

SECTION = "## Phases\n"
ANSWERS = tuple(range(20, 180, 20))  # tokens of each request: the load falls as they end
# vLLM's scopes are a little wider than what the probe times, or narrower; the forward's is around the same call.
SCOPES = {"input preparation": "preprocess", "forward": "forward", "sampling": "sample", "bookkeeping": "bookkeep"}
Spans = dict[str, list[int]]  # the durations of each of vLLM's scopes, one a step


@contextmanager
def vllm_scopes() -> Iterator[Spans]:
    """Time the scopes that vLLM makes around its phases for a profiler."""
    from vllm.v1 import utils

    spans: Spans = defaultdict(list)

    class Scope:
        def __init__(self, name: str) -> None:
            self.spans = spans[name.removeprefix("gpu_model_runner: ")]

        def __enter__(self) -> None:
            self.began = monotonic_ns()

        def __exit__(self, *_: object) -> None:
            self.spans.append(monotonic_ns() - self.began)

    before, utils._PROFILER_FUNC = utils._PROFILER_FUNC, Scope
    try:
        yield spans
    finally:
        utils._PROFILER_FUNC = before


def recorded_phases(llm: Any, folder: Path) -> tuple[Run, Spans]:
    """Record requests that begin together and end one after the other, with vLLM's scopes as a witness."""
    from vllm import SamplingParams

    prompts = [{"prompt_token_ids": [100 + (7 * i + j) % 2_000 for j in range(48)]} for i in range(len(ANSWERS))]
    parameters = [SamplingParams(max_tokens=n, ignore_eos=True, temperature=0, detokenize=False) for n in ANSWERS]
    with vllm_scopes() as spans, Probe(llm, folder) as probe:
        llm.generate(prompts, parameters, use_tqdm=False)
    return probe.run, spans


def phase_lines(model: str, run: Run, spans: Spans) -> Iterator[str]:
    found = run.analysis().phases
    assert found is not None
    yield SECTION
    yield "    python -m tools.results.inside_the_step --only phases --write\n"
    story = f"{len(ANSWERS)} requests begin together and end one after the other"
    yield f"{measured_here(f'{model}, eager,')}. {story}, so the load falls.\n"
    yield from phase_table(found, spans)
    yield from load_table(found)
    yield "![The section of the report](../pictures/phases.png)\n"


def phase_table(found: StepPhases, spans: Spans) -> Iterator[str]:
    """Yield each phase by the probe, and by vLLM's own scope where there is one."""
    yield (
        f"**Where an average step's {duration(float(found.total_ns.mean()))} go** ({len(found.running):,} steps; "
        "medians), and what vLLM's own scopes say of the same steps:\n"
    )
    rows = []
    for name in PHASES:
        told = spans.get(SCOPES.get(name, ""), [])
        witness = duration(float(np.median(told[: len(found.running)]))) if told else "–"
        rows.append((name, f"{found.shares[name]:.1%}", duration(float(np.median(found.ns[name]))), witness))
    yield from table(("phase", "share of the time", "by the probe", "by vLLM's scope"), rows)
    yield ""


def load_table(found: StepPhases) -> Iterator[str]:
    yield "**Over the load**, means of the steps with as many running requests:\n"
    names, rows = (*(name for name in PHASES if name != OUTSIDE), OUTSIDE), []
    for load in phases_over_load(found):
        span = f"{load.least}" if load.least == load.most else f"{load.least} to {load.most}"
        rows.append((span, f"{load.steps:,}", *(duration(load.mean_ns[name]) for name in names)))
    yield from table(("running", "steps", *names), rows, words=())
    yield ""
