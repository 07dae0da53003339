"""Published figures beside what is predicted without the hardware: capacities, saturation, bounds from datasheets.

Usage: `python -m tools.results.predicted_results --write docs/results/predicted.md`, in the root of the repository. The
twins of four sweeps take some minutes.
"""

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
from engine_probe.engine.twin.capacity_plan import CapacityPlan
from engine_probe.errors import InputError
from engine_probe.evaluation.published.reference import Published, read_reference
from engine_probe.sweep.preflight.device_plan import plan_on
from tools.result_page import head_commit, options, show, table

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
SPLIT, SPLIT_MODEL, SPLIT_LEVELS = "tensor_parallel", "llama-3.1-70b-fp8", [1, 50, 100, 150, 200, 250]
FULL = 0.99  # of the pool: blocks of a request that has ended are not all given out at once
BATCH = 32  # of the published L40S figures
BOUND_TITLES = ("figure", "published", "bound", "published / bound - 1", "")


class Curve(NamedTuple):
    """What the twin of a sweep came to, level by level."""

    loads: list[float]
    tokens_per_s: list[float]
    kv_shares: list[float]
    waiting_begins: float | None


def planned(model: str, lengths: tuple[int, int] = (128, 128), gpu: str = GPU, **arguments: Any) -> CapacityPlan:
    return plan_on(model, gpu, {**THEIRS, **arguments}, lengths)[0]


def figures(table: str, what: str) -> dict[str, list[Published]]:
    """Return the published figures of one kind by model."""
    found: dict[str, list[Published]] = {}
    for figure in read_reference(table).figures:
        if figure.what == what:
            found.setdefault(figure.model, []).append(figure)
    return found


def twin(sweep: str, folder: Path, *settings: str) -> Curve:
    """Run a shipped sweep on the twin of the published GPU."""
    words = [sys.executable, "-m", "engine_probe", "sweep", sweep, "--twin", GPU, "--out", str(folder)]
    done = subprocess.run([*words, *(f"--set={one}" for one in settings)], capture_output=True, text=True)
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


def split_twins(place: Path) -> dict[int, Curve]:
    """Run the published comparison of one GPU with two at some of its levels."""
    levels = f"workload.concurrency={SPLIT_LEVELS}"
    return {
        gpus: twin(SPLIT, place / f"{gpus} GPUs", f"engine.arguments.tensor_parallel_size={gpus}", levels)
        for gpus in (1, 2)
    }


def error(predicted: float, published: float) -> str:
    return f"{predicted / published - 1:+.1%}"


def capacities() -> Iterator[str]:
    """Yield the pools of the four models, also with the workspace fitted to the three others."""
    rows = []
    for one in pools():
        errors = error(one.predicted, one.published), error(one.from_others, one.published)
        predicted, others = f"{one.predicted:,}", f"{one.from_others:,.0f}"
        rows.append((one.model, f"{one.published:,.0f}", predicted, errors[0], others, errors[1]))
    yield from table(("model", "published", "predicted", "error", "from the other three", "error"), rows)


class Pool(NamedTuple):
    """The tokens of one model's KV cache."""

    model: str
    published: float
    predicted: int
    from_others: float


def pools() -> Iterator[Pool]:
    found = published("kv_capacity_tokens")
    known = {model: float(found[model].value or 0) for model in SWEEPS}
    for model, tokens in known.items():
        yield Pool(model, tokens, planned(model, dtype="float16").kv_capacity_tokens, without(model, known))


def without(model: str, known: dict[str, float]) -> float:
    """Predict a model's pool with a workspace that is fitted to the other three: a line over the vocabulary."""

    def vocabulary(name: str) -> float:
        return float(catalogue_config(name)["vocab_size"])

    left = {name: planned(name, dtype="float16").memory for name in known}
    others = [name for name in known if name != model]
    workspace = [left[name].left - known[name] * left[name].layout.bytes_per_token for name in others]
    slope, fixed = np.polyfit([vocabulary(name) for name in others], workspace, 1)
    mine = left[model]
    return float((mine.left - fixed - slope * vocabulary(model)) / mine.layout.bytes_per_token)


def withheld() -> Iterator[str]:
    """Yield the capacities that the copy of the document does not tell."""
    rows = []
    for model, gpus, more in WITHHELD:
        plans = (planned(model, tensor_parallel_size=gpus, **more, **kv) for kv in ({}, {"kv_cache_dtype": "fp8"}))
        rows.append((model, gpus, *(f"{plan.kv_capacity_tokens:,}" for plan in plans)))
    yield from table(("model", "GPUs", "KV cache in FP16, predicted", "in FP8, predicted"), rows)


def saturation(curves: dict[str, Curve]) -> Iterator[str]:
    """Yield where pools fill and throughput peaks, on the twins of the published sweeps."""
    full, peaks, rows = published("kv_saturation"), published("highest_throughput_load"), []
    for model, curve in curves.items():
        filled = full_at(curve)
        at = f"not up to {curve.loads[-1]:,.0f}" if filled is None else f"{filled:,.0f}"
        best = curve.loads[int(np.argmax(curve.tokens_per_s))]
        begins = "-" if curve.waiting_begins is None else f"{curve.waiting_begins:,.0f}"
        peak = peaks.get(model)
        off = error(best, peak.value) if peak and peak.value else "-"
        there = share_at(curve, peak)
        reached = "-" if there is None else f"{there:.0%}"
        rows.append((model, told(full.get(model)), at, begins, told(peak), f"{best:,.0f}", off, reached))
    titles = (
        *("model", "pool full, published", "predicted", "preempted from, predicted", "highest throughput, published"),
        *("predicted", "error", "predicted at the published load, of the highest"),
    )
    yield from table(titles, rows)


def published(what: str) -> dict[str, Published]:
    """Return the first figure of one kind that the thesis has of each model."""
    return {model: found[0] for model, found in figures("thesis_concurrency", what).items()}


def full_at(curve: Curve) -> float | None:
    """Return the first load at which the pool is full. None if it is at none."""
    return next((load for load, share in zip(curve.loads, curve.kv_shares, strict=True) if share >= FULL), None)


def share_at(curve: Curve, peak: Published | None) -> float | None:
    """Return the throughput at the published peak's load as a share of the curve's highest. None without either."""
    if peak is None or peak.value not in curve.loads:
        return None
    return curve.tokens_per_s[curve.loads.index(peak.value)] / max(curve.tokens_per_s)


def shares(curves: dict[str, Curve]) -> Iterator[str]:
    """Yield the published occupancies of the pool."""
    rows = []
    for model, found in figures("thesis_concurrency", "peak_kv_share").items():
        curve = curves[model]
        for figure in found:
            share = curve.kv_shares[curve.loads.index(figure.at)] if figure.at in curve.loads else None
            ours = "-" if share is None else f"{share:.0%}"
            off = "-" if share is None or not figure.value else error(share, figure.value)
            rows.append((model, f"{figure.at:,.0f}", told(figure, percent=True), ours, off))
    yield from table(("model", "concurrent requests", "published", "predicted", "error"), rows)


def told(figure: Published | None, percent: bool = False) -> str:
    if figure is None:
        return "not published"

    def number(value: float) -> str:
        return f"{value:.0%}" if percent and value <= 1 else f"{value:,.0f}"

    if figure.value is not None:
        return number(figure.value)
    low, high = (None if end is None else number(end) for end in (figure.low, figure.high))
    return f"{low} to {high}" if low and high else f"at least {low}" if low else f"at most {high}"


def split(curves: dict[int, Curve]) -> Iterator[str]:
    """Yield a model on one GPU and on two: its published weights, its pool, and bounds over the load."""
    rows = []
    for figure in figures("thesis_tensor_parallel", "weights_gib_of_gpu")[SPLIT_MODEL]:
        gpus = int(figure.setting["tensor_parallel_size"])
        memory = planned(SPLIT_MODEL, tensor_parallel_size=gpus, kv_cache_dtype="fp8", max_model_len=-1).memory
        ours, theirs = (memory.weights.size or 0.0) / GIB, figure.value or 0.0
        rows.append((gpus, f"{theirs:.2f}", f"{ours:.2f}", error(ours, theirs), f"{memory.pool_tokens:,}"))
    titles = ("GPUs", "weights of each, GiB, published", "predicted", "error", "KV pool, tokens, predicted")
    yield from (*table(titles, rows, words=()), "")
    titles = (
        *("concurrent requests", "tokens/s at most, predicted, 1 GPU", "2 GPUs", "gain"),
        *("KV peak, predicted, 1 GPU", "2 GPUs"),
    )
    one, two, rows = curves[1], curves[2], []
    for place, load in enumerate(one.loads):
        few, many = one.tokens_per_s[place], two.tokens_per_s[place]
        held = (f"{curve.kv_shares[place]:.0%}" for curve in (one, two))
        rows.append((f"{load:,.0f}", f"{few:,.0f}", f"{many:,.0f}", f"{many / few - 1:+.0%}", *held))
    yield from table(titles, rows, words=())


class Held(NamedTuple):
    """A published figure beside its bound."""

    what: str
    published: float
    bound: float
    is_least: bool  # the bound of a time: nothing is faster

    @property
    def beyond(self) -> bool:
        return self.published < self.bound if self.is_least else self.published > self.bound

    @property
    def cells(self) -> tuple[str, ...]:
        bound = f"{'at least' if self.is_least else 'at most'} {self.bound:,.4g}"
        told = "beyond the datasheet" if self.beyond else "possible"
        return self.what, f"{self.published:,.4g}", bound, error(self.published, self.bound), told


def bounded() -> Iterator[str]:
    """Yield the expected figures of an L40S beside the bounds of its datasheet."""
    rows = ((model, *held.cells) for model, held in held_by_l40s())
    yield from table(("model", *BOUND_TITLES), rows, words=(0, 1, 5))


def held_by_l40s() -> Iterator[tuple[str, Held]]:
    kinds = {"ttft_p50_ms": "TTFT, ms", "tpot_p50_ms": "TPOT, ms", "output_tokens_per_s": "tokens/s"}
    for model in figures("l40s", "tpot_p50_ms"):
        try:
            bounds = planned(model, (512, 256), "L40S", max_model_len=4096, max_num_seqs=256).bounds(BATCH)
        except InputError:
            continue
        least = {"ttft_p50_ms": bounds.prompt_seconds * 1e3, "tpot_p50_ms": bounds.step_seconds * 1e3}
        for what, title in kinds.items():
            plain = [each for each in figures("l40s", what).get(model, []) if not each.setting]
            if plain and plain[0].value is not None:
                bound = least.get(what, bounds.output_tokens_per_s)
                yield model, Held(title, plain[0].value, bound, what in least)


def one_l4() -> Iterator[str]:
    """Yield the measured figures of Qwen3 8B on an L4, not by vLLM, beside the bounds of its datasheet."""
    yield from table(BOUND_TITLES, (held.cells for held in held_by_l4()), words=(0, 4))


def held_by_l4() -> Iterator[Held]:
    lengths = 128, 175
    bounds = planned("qwen3-8b", lengths, "L4", max_model_len=2048, max_num_batched_tokens=2048, max_num_seqs=64)
    for suite in figures("l4_suites", "output_tokens_per_s")["qwen3-8b"]:
        name = f"tokens/s, {suite.setting['path']} suite"
        yield Held(name, suite.value or 0.0, bounds.bounds(1).output_tokens_per_s, False)
    for number in figures("l4_parallel", "makespan_s")["qwen3-8b"]:
        load = int(number.at or 1)
        took = load * 50 / bounds.bounds(load).output_tokens_per_s
        yield Held(f"{load} x 50 tokens, s", number.value or 0.0, took, True)


def verdict(curves: dict[str, Curve]) -> Iterator[str]:
    """Yield what the sections below come to."""
    capacity = list(pools())
    own, others = (
        max(abs(getattr(one, name) / one.published - 1) for one in capacity) for name in ("predicted", "from_others")
    )
    yield (
        f"- The four published KV capacities are predicted within {own:.1%}; within {others:.1%} from the other three "
        "models alone."
    )
    full, peaks = published("kv_saturation"), published("highest_throughput_load")
    reached = {model: load for model, curve in curves.items() if (load := full_at(curve)) is not None}
    right = [model for model, load in reached.items() if model in full and is_within(load, full[model])]
    yield (
        f"- {len(right)} of the {len(reached)} pools that the sweeps fill are predicted to be full at the published "
        "concurrency."
    )
    there = [share for model, curve in curves.items() if (share := share_at(curve, peaks.get(model))) is not None]
    if there:
        yield (
            "- The predicted throughput, a bound, peaks at other loads than the published one; at the published loads "
            f"it is\n  {min(there):.0%} to {max(there):.0%} of its highest."
        )
    for name, held in (("L40S", [each for _, each in held_by_l40s()]), ("L4", list(held_by_l4()))):
        beyond = sum(each.beyond for each in held) or "none"
        yield f"- Of the {len(held)} published figures of one {name}, {beyond} are beyond what its datasheet allows."


def is_within(load: float, figure: Published) -> bool:
    low, high = (figure.value if end is None else end for end in (figure.low, figure.high))
    return (low is None or low <= load) and (high is None or load <= high)


OF_CAPACITIES = """\
- The workspace of the memory model is a line through these four engines, so that the first error is that of a fit. The
  second is that of a prediction in which the model itself had no part.
- Falcon's pool is a small rest beside its weights: a tenth of a GiB is 5 % of it."""
OF_WITHHELD = """\
- The document names FP8 for the cache of the 70B model. Which of the two columns was measured, its figures will show.
- On one GPU the pool of the 70B model is smaller than one request of the 128 k context that the document names."""
OF_SATURATION = """\
- `sweep NAME --twin "H100 NVL"`: vLLM's scheduler and block manager, the pool of the memory model, and the least step
  times by the datasheet. Where pools fill and requests wait follows from the scheduler. Throughput is a bound; where
  it peaks rests on costs that the bound leaves out (sampling, launches). The last column tells how flat the predicted
  curve is: near 100 %, the load of its peak says little.
- Falcon's sweep ends at 160, as the published one did, which found its pool never full; the 200 was not measured there.
- The lengths of answers were derived from the published occupancies (`tools/shipped_data/answer_lengths.py`): the
  shares check the scheduler, not the lengths."""
OF_SPLIT = """\
- The document publishes its throughput as plots without numbers. Both columns are bounds: memory, products and the
  all-reduces at the datasheet's rate of the link. The gain is one of bounds: launches and the latency of all-reduces,
  which two GPUs feel more at low load, are in neither. The pool follows from the memory model.
- The document calls 67.7 GiB half of a GPU (section 6.3); of 93.6 GiB they are 72 %. On one GPU a request of the 128 k
  context that it names does not fit beside them."""
OF_BOUNDS = """\
- Every step reads the weights of all layers and the vocabulary once, and no prompt is computed faster than the tensor
  cores multiply: a figure beyond that cannot be measured on such a card.
- The document contradicts itself: 32 requests that each get a token every 12 ms get 2,667 tokens/s, not 4,500; every
  18 ms 1,778 and not 2,800; every 11 ms 2,909 and not 4,800. Its 72 GB of weights for each of two cards do not fit
  48 GB, and it gives the peak of a 7B model as 4,500 in one place and as 4,800 in another.
- A time above its bound says nothing against a figure: what launches and the host take is not in a bound."""
OF_L4 = """\
- Not vLLM: a Transformers backend that answers one request after the other. It reaches three quarters of what the
  memory of an L4 allows a single request; from there only batching gains, as the bounds of 2 and 3 requests show.
- The document's speed-ups of 1.52 and 2.34 contradict its times, which give 1.06 and 1.08."""


def document(curves: dict[str, Curve], halves: dict[int, Curve], commit: str = "") -> Iterator[str]:
    share, gib = planned("gpt2-xl", dtype="float16").memory.share, planned("gpt2-xl").memory.device_bytes / GIB
    at = f" at {commit}" if commit else ""
    yield from (
        "# Predicted beside published",
        "",
        f"Made by `python -m tools.results.predicted_results`{at}, without a GPU: everything but the columns",
        "called published is predicted, or a bound by the datasheet.",
        "",
        *verdict(curves),
    )
    yield from section(f"KV cache of one {GPU} ({share:g} of {gib:g} GiB), in tokens", capacities(), OF_CAPACITIES)
    yield from section("Capacities that our copy of the thesis withholds, in tokens", withheld(), OF_WITHHELD)
    tables = (*saturation(curves), "", *shares(curves))
    yield from section("Saturation of the four sweeps on their twins", tables, OF_SATURATION)
    yield from section(f"{SPLIT_MODEL} on one {GPU} and on two", split(halves), OF_SPLIT)
    yield from section(f"One L40S at batch {BATCH}, and what its datasheet allows", bounded(), OF_BOUNDS)
    yield from section("Qwen3 8B on one L4, and what its datasheet allows", one_l4(), OF_L4)


def section(title: str, lines: Iterable[str], notes: str) -> Iterator[str]:
    yield from ("", f"## {title}", "", *lines, "", notes)


def main() -> None:
    asked = options(__doc__).parse_args()
    with tempfile.TemporaryDirectory() as place:
        curves = {model: twin(name, Path(place, name)) for model, name in SWEEPS.items()}
        halves = split_twins(Path(place))
    show(document(curves, halves, head_commit()), asked.write)


if __name__ == "__main__":
    main()
