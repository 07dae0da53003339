"""The section on operators of docs/results/inside_the_step.md: what a window shows, and what it costs."""

import os
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine_probe import Run
from engine_probe.analysis.step.operators import OperatorTimes, profiled_steps
from engine_probe.record.run_json import operator_window
from engine_probe.text_format import duration

SECTION = "## Operators\n"
WINDOW, PAIRS, TOKENS = operator_window("20@40"), 3, 90
FIRST_DECODE = 2  # the steps before it compute the prompts
MOST_NAMES = 8
NOISY = 0.05  # a pair that differs by more outside the window says more about the machine than about the window
NOISE = (
    "Other programs moved whole runs by more than a window could: these pairs show no cost of the window, neither "
    "inside nor outside, and could not show one of a few per cent. By construction a worker's step outside the window "
    "has two more comparisons of integers."
)

Record = Callable[..., Run]


def operator_runs(record: Record, llm: Any, folder: Path) -> list[tuple[Run, Run]]:
    """Record pairs of runs of the same requests, without and with a window; which comes first alternates."""
    pairs = []
    for number in range(PAIRS):
        order = ("without", "with") if number % 2 == 0 else ("with", "without")
        windows = {"without": None, "with": str(WINDOW)}
        runs = {name: record(llm, folder / f"{name}-{number}", {}, windows[name], TOKENS) for name in order}
        pairs.append((runs["without"], runs["with"]))
    return pairs


def operator_lines(model: str, pairs: list[tuple[Run, Run]]) -> Iterator[str]:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True).stdout
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    run = pairs[-1][1]
    found = run.analysis().operators
    assert found is not None
    yield SECTION
    yield "    python -m tools.inside_the_step --only operators --write\n"
    yield (
        f"{datetime.now(UTC):%Y-%m-%d}, commit {commit.strip()}, {model} on {os.cpu_count()} cores without a GPU, "
        f"eager, a window of {WINDOW.steps} steps from step {WINDOW.first} on. "
        f"Others used the cores too (load {load}).\n"
    )
    yield from shown(found, run)
    yield "![The section of the report](../pictures/operators.png)\n"
    yield from cost(pairs)


def shown(found: OperatorTimes, run: Run) -> Iterator[str]:
    """Say what the last window shows."""
    yield (
        f"**Where the forward's time goes.** {duration(found.forward_ns)} in an average step of "
        f"{found.mean_running:.0f} requests, which the kinds and the gaps add up to:\n"
    )
    yield "| kind | share | of a step |\n|---|--:|--:|"
    for kind, ns in found.kinds.items():
        yield f"| {kind} | {found.share(kind):.1%} | {duration(ns)} |"
    layers = ", ".join(f"{name} {sum(kinds.values()) / found.forward_ns:.0%}" for name, kinds in found.layers.items())
    yield f"\nBy layer: {layers}.\n"
    yield "| operator | kind | calls | of a step |\n|---|---|--:|--:|"
    for each in found.longest[:MOST_NAMES]:
        yield f"| `{each.name}` | {each.kind} | {each.calls:g} | {duration(each.ns)} |"
    forwards = run.workers["forward_ns"].to_numpy()[WINDOW.first : WINDOW.last + 1]
    yield (
        f"\nThe worker's own clock says {duration(float(forwards.mean()))} for these forwards. The window has "
        f"{run.operators.num_rows:,} rows and {run.operator_slices.num_rows:,} slices.\n"
    )


def cost(pairs: list[tuple[Run, Run]]) -> Iterator[str]:
    """Say how much longer steps take inside the window and outside, by steps of the same number in both runs."""
    yield (
        f"**What a window costs.** {PAIRS} pairs of runs of the same requests, without and with the window, in "
        "alternating order; each figure is the median, over steps of the same number, of the time with a window over "
        "that without, less one:\n"
    )
    names = ("pair", "outside the window", "inside")
    yield f"| {' | '.join(names)} |\n|--:|--:|--:|"
    ratios = [pair_ratios(*pair) for pair in pairs]
    for number, (outside, inside) in enumerate(ratios, 1):
        yield f"| {number} | {outside:+.1%} | {inside:+.1%} |"
    medians = np.median(np.array(ratios), axis=0)
    yield f"| median | {medians[0]:+.1%} | {medians[1]:+.1%} |\n"
    if np.abs(np.array(ratios)[:, 0]).max() > NOISY:
        yield f"{NOISE}\n"
    ended = [(last_step_ns(run) - last_step_ns(plain)) for plain, run in pairs]
    yield (
        f"The last step of the window, in which the profiler ends, took {duration(float(np.median(ended)))} longer "
        "than without (median)."
    )


def step_ns(run: Run) -> npt.NDArray[np.int64]:
    names = ("schedule_ns", "execute_ns", "update_ns", "gap_ns")
    total: npt.NDArray[np.int64] = np.sum([run.iterations[name].to_numpy() for name in names], axis=0)
    return total


def last_step_ns(run: Run) -> int:
    return int(step_ns(run)[WINDOW.last])


def pair_ratios(plain: Run, watched: Run) -> tuple[float, float]:
    """Return by how much steps outside and inside the window took longer; its last step counts apart."""
    count = min(plain.iterations.num_rows, watched.iterations.num_rows)
    ratio = step_ns(watched)[:count] / step_ns(plain)[:count] - 1
    inside = profiled_steps(watched.iterations, watched.profiled_span)[:count]
    outside = ~inside & (np.arange(count) >= FIRST_DECODE)
    inside[WINDOW.last] = False
    return float(np.median(ratio[outside])), float(np.median(ratio[inside]))
