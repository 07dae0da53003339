"""The metrics of what happens inside the engine, each declared once: name, unit, formula, function."""

from collections.abc import Callable
from dataclasses import dataclass

from engine_probe.analysis.run_analysis import RunAnalysis

NS_PER_S, NS_PER_MS = 1e9, 1e6


@dataclass(frozen=True)
class EngineMetric:
    name: str
    unit: str
    formula: str
    value: Callable[[RunAnalysis], float | None]  # None if the recording does not show it


def part(name: str, meaning: str) -> EngineMetric:
    """Declare a share of the whole time."""
    return EngineMetric(f"{name}_share", "", f"{meaning} / time", lambda run: run.summary.shares[name])


def tokens(name: str) -> EngineMetric:
    """Declare a share of the scheduled tokens."""
    first = "prefill tokens computed for the first time" if name == "prefill" else f"{name} tokens"
    formula = f"{first} / scheduled tokens"
    return EngineMetric(
        f"{name}_token_share", "", formula, lambda run: run.composition.token_shares[name] if run.composition else None
    )


ENGINE_METRICS = (
    part("schedule", "time in schedule()"),
    part("execute", "time from schedule() to update"),
    part("update", "time in update_from_output()"),
    part("outside", "time between steps, outside the core"),
    EngineMetric("idle_share", "", "gaps in which there was no request / time", lambda run: run.limits.idle_share),
    EngineMetric(
        "device_idle_share",
        "",
        "time between two forwards on the device, without gaps in which there was no request / time",
        lambda run: run.device.between_share if run.device else None,
    ),
    EngineMetric(
        "preempted_share",
        "",
        "requests that were preempted at least once / requests that ended",
        lambda run: run.preemption_cost.requests / run.sequences_ended if run.sequences_ended else None,
    ),
    EngineMetric(
        "preempted_away_s",
        "s",
        "from preemption to the step that gave tokens again, summed",
        lambda run: run.preemption_cost.away_ns / NS_PER_S,
    ),
    EngineMetric(
        "preempted_away_longest_s",
        "s",
        "the same, of the request that was away longest",
        lambda run: run.preemption_cost.worst[0].away_ns / NS_PER_S if run.preemption_cost.worst else 0.0,
    ),
    EngineMetric(
        "recompute_s",
        "s",
        "execute time x recomputed / scheduled tokens of each step, summed: as if all tokens cost alike",
        lambda run: run.preemption_cost.recompute_ns / NS_PER_S,
    ),
    EngineMetric(
        "kv_fragmentation",
        "",
        "1 - live tokens / (KV blocks in use x block size), over time",
        lambda run: run.kv_fragmentation,
    ),
    *(tokens(name) for name in ("prefill", "recomputed", "decode", "speculative")),
    EngineMetric(
        "step_tokens",
        "tokens",
        "scheduled tokens / steps with tokens",
        lambda run: run.composition.mean_tokens if run.composition else None,
    ),
    EngineMetric(
        "step_requests",
        "requests",
        "scheduled requests / steps with tokens",
        lambda run: run.composition.mean_requests if run.composition else None,
    ),
    EngineMetric(
        "straggler_rank",
        "",
        "the rank that began its forward last in most steps",
        lambda run: run.straggler.rank if run.straggler else None,
    ),
    EngineMetric(
        "straggler_behind_ms",
        "ms",
        "begin of the forward on the last rank - on the median rank, mean over steps",
        lambda run: run.straggler.behind_ns / NS_PER_MS if run.straggler else None,
    ),
)
