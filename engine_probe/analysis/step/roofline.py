"""The roofline of each step: the bytes and operations that it needs, over its time.

Of one step with T scheduled tokens of R requests, summed over the ranks that share it:

    bytes = matrices and norms, once + head, once + T rows of the embedding + the experts that were chosen
            + KV of all tokens attended to (read) + KV of T tokens (written)
    FLOP  = 2 x T x values of the matrices and of the chosen experts + 2 x R x values of the head
            + 4 x heads x head size x layers x pairs of a token and one that it attends to

vLLM computes logits for one token of each scheduled request. The device's time is that of the forward, before logits:
held against it, the head is left out. Data moved between kernels is not counted, nor softmax,
norms, rotations and padding: this is the minimum that the model needs, so that a share of a ceiling is its useful part.
Figures that the recording does not determine have a lower and an upper bound.
"""

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine_probe.analysis.statistics.arrays import Reals
from engine_probe.analysis.step.attention_work import Bounds, attended
from engine_probe.analysis.step.ceilings import MEMORY, Ceiling, compute_ceiling, highest
from engine_probe.analysis.step.step_time import DEVICE, StepTime


@dataclass(frozen=True)
class RooflineRange:
    least: float
    most: float


@dataclass(frozen=True, eq=False)
class Roofline:
    """Work and time of every step; steps without tokens have none."""

    bytes: Bounds
    flops: Bounds
    prefill_share: Reals  # of the step's tokens
    seconds: Reals
    clock: str  # by which `seconds` were measured
    memory: Ceiling | None
    compute: Ceiling | None

    @property
    def working(self) -> Any:
        return (self.bytes.most > 0) & (self.seconds > 0)

    @property
    def bytes_per_s(self) -> RooflineRange:
        return self._rate(self.bytes)

    @property
    def flops_per_s(self) -> RooflineRange:
        return self._rate(self.flops)

    @property
    def bandwidth_utilisation(self) -> RooflineRange | None:
        return share(self.bytes_per_s, self.memory)

    @property
    def flop_utilisation(self) -> RooflineRange | None:
        return share(self.flops_per_s, self.compute)

    @property
    def ridge(self) -> float | None:
        """Return the FLOP per byte above which compute is the limit."""
        return self.compute.per_s / self.memory.per_s if self.compute and self.memory else None

    def _rate(self, work: Bounds) -> RooflineRange:
        seconds = float(self.seconds[self.working].sum())
        return RooflineRange(float(work.least.sum()) / seconds, float(work.most.sum()) / seconds)

    def only(self, steps: Any) -> Self | None:
        """Return the roofline of these steps alone. None if none of them had work."""
        if not (steps & self.working).any():
            return None
        kept = steps & self.working
        return replace(
            self,
            bytes=Bounds(self.bytes.least[kept], self.bytes.most[kept]),
            flops=Bounds(self.flops.least[kept], self.flops.most[kept]),
            prefill_share=self.prefill_share[kept],
            seconds=self.seconds[kept],
        )


def share(rate: RooflineRange, ceiling: Ceiling | None) -> RooflineRange | None:
    return RooflineRange(rate.least / ceiling.per_s, rate.most / ceiling.per_s) if ceiling else None


def roofline(facts: dict[str, Any], iterations: pa.Table, requests: pa.Table, time: StepTime) -> Roofline | str:
    """Return the roofline of a run, or the reason why there is none."""
    if reason := why_not(facts, iterations, time):
        return reason
    tokens, prefill = (iterations[f"{name}_tokens"].to_numpy().astype(np.float64) for name in ("scheduled", "prefill"))
    ranks, read = facts["loaded"], attended(iterations, requests)
    longest = longest_context(facts, requests)
    parts = ("linear", "other") if time.clock == DEVICE else ("linear", "head", "other")
    weights, pairs = weight_bytes(ranks, tokens, parts), Bounds.exact(np.zeros(len(tokens)))
    rows = iterations["scheduled_requests"].to_numpy()
    flops = 2 * tokens * (total(ranks, "linear") + chosen(ranks, "parameters"))
    if "head" in parts:
        flops = flops + 2 * rows * total(ranks, "head")
    cache = Bounds.exact(tokens * written_bytes(facts, ranks))
    shared = iterations["kv_blocks_shared"].to_numpy() * float(facts["kv"]["block_size_tokens"])
    for kind in (kind for rank in ranks for kind in rank["attention"]):
        heads = kind["layers"] * kind["head_size"]
        pairs += within(read.pairs, kind["window"], longest, tokens, 0) * (4.0 * heads * kind["heads"])
        seen = within(read.tokens, kind["window"], longest, rows, tokens)
        # What this step computed, or several requests share, need not be read from memory more than once.
        fresh = Bounds(np.maximum(seen.least - tokens - shared, 0), seen.most)
        cache += fresh * (2.0 * heads * kind["kv_heads"] * kind["kv_value_bytes"])
    worked = tokens > 0
    return Roofline(
        bytes=masked(weights + cache, worked),
        flops=masked(pairs + flops, worked),
        prefill_share=np.divide(prefill, tokens, out=np.zeros(len(tokens)), where=worked),
        seconds=time.ns / 1e9,
        clock=time.clock,
        memory=highest(facts, MEMORY),
        compute=compute_ceiling(facts),
    )


def why_not(facts: dict[str, Any], iterations: pa.Table, time: StepTime) -> str | None:
    """Return why bytes and operations do not follow from this recording. None if they do."""
    loaded = facts.get("loaded")
    if not loaded:
        unread = "; ".join(facts.get("unread", ()))
        return f"the size of the model's weights is not recorded{f' ({unread})' if unread else ''}"
    arguments = facts["engine"]["arguments"]
    parallel = arguments.get("parallel_config") or {}
    if unknown := sorted({name for rank in loaded for name in rank["unknown"]}):
        return f"the work of {', '.join(unknown)} does not follow from its shape"
    if any(kind["kv_value_bytes"] is None for rank in loaded for kind in rank["attention"]):
        return "this vLLM does not report the type of its KV cache"
    if arguments.get("speculative_config") or iterations["speculative_tokens"].to_numpy().any():
        return "with speculative decoding a second model runs too"
    for name, reason in NOT_DERIVED:
        if (parallel.get(name) or 1) != 1:
            return reason
    if parallel.get("enable_expert_parallel") and any(rank["experts"] for rank in loaded):
        return "with expert parallelism it is not recorded which rank's experts were chosen"
    if len(loaded) != (parallel.get("tensor_parallel_size") or 1):
        return f"only {len(loaded)} of {parallel['tensor_parallel_size']} ranks report their weights"
    if not time.ns[iterations["scheduled_tokens"].to_numpy() > 0].any():
        return "no step with tokens has a time"
    return None


NOT_DERIVED = (  # sizes above one, and why work does not follow with them
    ("pipeline_parallel_size", "with pipeline parallelism the stages work on different steps at the same time"),
    ("data_parallel_size", "with data parallelism other engines share the devices"),
    ("decode_context_parallel_size", "with context parallelism ranks share out the tokens, not the heads"),
    ("prefill_context_parallel_size", "with context parallelism ranks share out the tokens, not the heads"),
)


def masked(work: Bounds, worked: Any) -> Bounds:
    return Bounds(np.where(worked, work.least, 0.0), np.where(worked, work.most, 0.0))


def total(ranks: list[dict[str, Any]], part: str, what: str = "products") -> float:
    return float(sum(rank["parts"][part][what] for rank in ranks))


def chosen(ranks: list[dict[str, Any]], what: str) -> float:
    """Return the sum over the experts that one token goes through, over all layers."""
    return float(sum(layer["per_token"] * layer[what] for rank in ranks for layer in rank["experts"]))


def weight_bytes(ranks: list[dict[str, Any]], tokens: Reals, parts: tuple[str, ...]) -> Bounds:
    """Return the weight bytes that each step reads: of these parts, and between the fewest and the most experts."""
    held = sum(total(ranks, part, "bytes") for part in parts)
    size = Bounds.exact(held + tokens * ranks[0]["row_bytes"])
    for layer in (layer for rank in ranks for layer in rank["experts"]):
        most = np.minimum(layer["all"], tokens * layer["per_token"])
        size += Bounds(np.full(len(tokens), float(layer["per_token"])), most) * float(layer["bytes"])
    return size


def written_bytes(facts: dict[str, Any], ranks: list[dict[str, Any]]) -> float:
    """Return the KV bytes of one token on all ranks, by the pool, or by the attention layers for a mixed pool."""
    kv = facts["kv"]
    if kv["groups"] == 1:
        return float(len(ranks) * kv["bytes_per_block"] / kv["block_size_tokens"])
    kinds = (kind for rank in ranks for kind in rank["attention"])
    return float(
        sum(2 * kind["layers"] * kind["kv_heads"] * kind["head_size"] * kind["kv_value_bytes"] for kind in kinds)
    )


def longest_context(facts: dict[str, Any], requests: pa.Table) -> int:
    """Return the longest context of a request; one without a row may be as long as the engine allows."""
    whole = pc.max(pc.add(requests["prompt_tokens"], requests["output_tokens"])).as_py()
    finished = facts["status"] == "complete"
    return int(whole) if whole and finished else int(facts["model"]["max_model_len"])


def within(counted: Bounds, window: int | None, longest: int, windows: Reals, beside: Reals | int) -> Bounds:
    """Return the part of the work that remains in layers with a sliding window."""
    if window is None or window >= longest:
        return counted
    return Bounds(counted.least * (window / longest), np.minimum(counted.most, windows * float(window) + beside))
