"""Published figures beside what is predicted without the hardware: capacities, saturation, bounds from data sheets.

Usage: `python -m tools.predicted_results --write docs/results/predicted.md`, in the root of the repository. The twins
of four sweeps take some minutes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import engine_probe
from engine_probe.engine.models.catalogue import catalogue_config
from engine_probe.engine.models.geometry import GIB
from engine_probe.engine.twin.capacity_plan import Plan
from engine_probe.evaluation.published.reference import Published, read_reference
from engine_probe.sweep.preflight.device_plan import plan_on

GPU = "H100 NVL"
SWEEPS = {
    "gpt2-xl": "concurrency_gpt2_xl",
    "deepseek-llm-7b-chat": "concurrency_deepseek_7b",
    "qwen1.5-14b-chat": "concurrency_qwen_14b",
    "falcon-40b": "concurrency_falcon_40b",
}
THEIRS = {"gpu_memory_utilization": 0.9, "max_num_batched_tokens": 8192, "max_num_seqs": 1024}
WITHHELD = (
    ("mistral-7b-128k", 2, {"dtype": "float16"}),
    ("llama-3.1-70b-fp8", 1, {}),
    ("llama-3.1-70b-fp8", 2, {}),
)
FULL = 0.99  # of the pool: blocks of a request that has ended are not all given out at once
BATCH = 32  # of the published L40S figures


class Curve(NamedTuple):
    """What the twin of a sweep came to, level by level."""

    loads: list[float]
    tokens_per_s: list[float]
    kv_shares: list[float]
    waiting_begins: float | None


def planned(model: str, lengths: tuple[int, int] = (128, 128), gpu: str = GPU, **arguments: Any) -> Plan:
    return plan_on(model, gpu, {**THEIRS, **arguments}, lengths)[0]


def figures(table: str, what: str) -> dict[str, list[Published]]:
    """Return the published figures of one kind by model."""
    found: dict[str, list[Published]] = {}
    for figure in read_reference(table).figures:
        if figure.what == what:
            found.setdefault(figure.model, []).append(figure)
    return found


def twin(sweep: str, folder: Path) -> Curve:
    """Run a shipped sweep on the twin of the published GPU."""
    words = [sys.executable, "-m", "engine_probe", "sweep", sweep, "--twin", GPU, "--out", str(folder)]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{sweep}: {done.stderr[-3000:]}")
    swept = engine_probe.load_sweep(folder)
    rows = swept.table.to_pylist()
    waits = [row["concurrency"] for row, run in zip(rows, swept.runs, strict=True) if run.preemptions.num_rows]
    return Curve(
        [row["concurrency"] for row in rows],
        [row["output_tokens_per_s"] for row in rows],
        [row["peak_kv_share"] for row in rows],
        min(waits, default=None),
    )


def error(predicted: float, published: float) -> str:
    return f"{predicted / published - 1:+.1%}"


def capacities() -> Iterator[str]:
    """Yield the pools of the four models, also with the workspace fitted to the three others."""
    published = {model: found[0].value for model, found in figures("thesis_concurrency", "kv_capacity_tokens").items()}
    yield "| model | published | predicted | error | from the other three | error |"
    yield "|---|--:|--:|--:|--:|--:|"
    for model in SWEEPS:
        tokens, plan = published[model], planned(model, dtype="float16")
        assert tokens is not None
        others = without(model, {name: float(value or 0) for name, value in published.items()})
        yield (
            f"| {model} | {tokens:,.0f} | {plan.kv_capacity_tokens:,} | {error(plan.kv_capacity_tokens, tokens)} "
            f"| {others:,.0f} | {error(others, tokens)} |"
        )


def without(model: str, published: dict[str, float]) -> float:
    """Predict a model's pool with a workspace that is fitted to the other three: a line over the vocabulary."""

    def vocabulary(name: str) -> float:
        return float(catalogue_config(name)["vocab_size"])

    left = {name: planned(name, dtype="float16").memory for name in published}
    others = [name for name in published if name != model]
    workspace = [left[name].left - published[name] * left[name].kv_bytes_per_token for name in others]
    slope, fixed = np.polyfit([vocabulary(name) for name in others], workspace, 1)
    mine = left[model]
    return float((mine.left - fixed - slope * vocabulary(model)) / mine.kv_bytes_per_token)


def withheld() -> Iterator[str]:
    """Yield the capacities that the copy of the document does not tell."""
    yield "| model | GPUs | KV cache in FP16 | in FP8 |"
    yield "|---|--:|--:|--:|"
    for model, gpus, more in WITHHELD:
        wide, narrow = (
            planned(model, tensor_parallel_size=gpus, **more, **kv).kv_capacity_tokens
            for kv in ({}, {"kv_cache_dtype": "fp8"})
        )
        yield f"| {model} | {gpus} | {wide:,} | {narrow:,} |"


def saturation(curves: dict[str, Curve]) -> Iterator[str]:
    """Yield where pools fill and throughput peaks, on the twins of the published sweeps."""
    full = {model: found[0] for model, found in figures("thesis_concurrency", "kv_saturation").items()}
    peaks = {model: found[0] for model, found in figures("thesis_concurrency", "highest_throughput_load").items()}
    yield "| model | pool full, published | predicted | preempted from | highest throughput, published | predicted |"
    yield "|---|--:|--:|--:|--:|--:|"
    for model, curve in curves.items():
        at = next(
            (f"{load:,.0f}" for load, share in zip(curve.loads, curve.kv_shares, strict=True) if share >= FULL), "-"
        )
        best = curve.loads[int(np.argmax(curve.tokens_per_s))]
        begins = "-" if curve.waiting_begins is None else f"{curve.waiting_begins:,.0f}"
        yield f"| {model} | {told(full.get(model))} | {at} | {begins} | {told(peaks.get(model))} | {best:,.0f} |"


def shares(curves: dict[str, Curve]) -> Iterator[str]:
    """Yield the published occupancies of the pool."""
    yield "| model | concurrent requests | published | predicted |"
    yield "|---|--:|--:|--:|"
    for model, found in figures("thesis_concurrency", "peak_kv_share").items():
        curve = curves[model]
        for figure in found:
            share = curve.kv_shares[curve.loads.index(figure.at)] if figure.at in curve.loads else None
            ours = "-" if share is None else f"{share:.0%}"
            yield f"| {model} | {figure.at:,.0f} | {told(figure, percent=True)} | {ours} |"


def told(figure: Published | None, percent: bool = False) -> str:
    if figure is None:
        return "not published"

    def number(value: float) -> str:
        return f"{value:.0%}" if percent and value <= 1 else f"{value:,.0f}"

    if figure.value is not None:
        return number(figure.value)
    low, high = (None if end is None else number(end) for end in (figure.low, figure.high))
    return f"{low} to {high}" if low and high else f"at least {low}" if low else f"at most {high}"


def bounded() -> Iterator[str]:
    """Yield the expected figures of an L40S beside the bounds of its data sheet."""
    yield f"| model | TPOT, published | at least | tokens/s at batch {BATCH}, published | at most | |"
    yield "|---|--:|--:|--:|--:|---|"
    times, rates = (figures("l40s", what) for what in ("tpot_p50_ms", "output_tokens_per_s"))
    for model, found in times.items():
        plain = [figure for figure in found if not figure.setting]
        rate = next((figure for figure in rates.get(model, []) if not figure.setting), None)
        if not plain or rate is None or rate.value is None or plain[0].value is None:
            continue
        bounds = planned(model, (512, 256), "L40S", max_model_len=4096, max_num_seqs=256).bounds(BATCH)
        step, most = bounds.step_seconds * 1e3, bounds.output_tokens_per_s
        beyond = "beyond the data sheet" if plain[0].value < step or rate.value > most else "possible"
        yield f"| {model} | {plain[0].value:g} ms | {step:.1f} ms | {rate.value:,.0f} | {most:,.0f} | {beyond} |"


OF_CAPACITIES = """\
- The workspace of the memory model is a line through these four engines, so that the first error is that of a fit. The
  second is that of a prediction in which the model itself had no part.
- Falcon's pool is a small rest beside its weights: a tenth of a GiB is 5 % of it."""
OF_WITHHELD = """\
- The document names FP8 for the cache of the 70B model. Which of the two columns was measured, its figures will show.
- On one GPU the pool of the 70B model is smaller than one request of the 128 k context that the document names."""
OF_SATURATION = """\
- `sweep NAME --twin "H100 NVL"`: vLLM's scheduler and block manager, the pool of the memory model, and the least step
  times by the data sheet. Where pools fill and requests wait follows from the scheduler. Throughput is a bound; where
  it peaks rests on costs that the bound leaves out (sampling, launches, attention's products).
- The lengths of answers were derived from the published occupancies (`tools/answer_lengths.py`): the shares check the
  scheduler, not the lengths."""
OF_BOUNDS = "- Every step reads the weights of all layers: a figure beyond that cannot be measured on such a card."


def document(curves: dict[str, Curve]) -> Iterator[str]:
    share, gib = planned("gpt2-xl", dtype="float16").memory.share, planned("gpt2-xl").memory.device_bytes / GIB
    yield from ("# Predicted beside published", "", "Made by `python -m tools.predicted_results`, without a GPU.")
    yield from section(f"KV cache of one {GPU} ({share:g} of {gib:g} GiB), in tokens", capacities(), OF_CAPACITIES)
    yield from section("Capacities that our copy of the thesis withholds, in tokens", withheld(), OF_WITHHELD)
    tables = (*saturation(curves), "", *shares(curves))
    yield from section("Saturation of the four sweeps on their twins", tables, OF_SATURATION)
    yield from section(f"One L40S at batch {BATCH}, and what its data sheet allows", bounded(), OF_BOUNDS)


def section(title: str, lines: Iterable[str], notes: str) -> Iterator[str]:
    yield from ("", f"## {title}", "", *lines, "", notes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--write", type=Path, metavar="FILE", help="also write the page to FILE")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        curves = {model: twin(name, Path(place, name)) for model, name in SWEEPS.items()}
    text = "\n".join(document(curves)) + "\n"
    print(text, end="")
    if asked.write:
        asked.write.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
