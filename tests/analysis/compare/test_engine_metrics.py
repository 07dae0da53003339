"""What the inside of a run comes to: each figure has a name of its own, and one that is not recorded is none."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from engine_probe.analysis.compare.changes import COMPARED, METRICS
from engine_probe.analysis.compare.engine_metrics import ENGINE_METRICS
from engine_probe.analysis.money.metrics import COST_PER_ITEM, ENERGY, MONEY
from engine_probe.analysis.step.losses import Composition, PreemptedRequest, PreemptionCost, Straggler

MS = 1_000_000


def made(**more: Any) -> dict[str, float | None]:
    """10 answered and 2 aborted requests, 3 of which were away 900 ms in sum."""
    worst = (PreemptedRequest("a", 1, 500 * MS), PreemptedRequest("b", 2, 300 * MS))
    whole: Any = SimpleNamespace(
        summary=SimpleNamespace(
            shares={"schedule": 0.1, "execute": 0.7, "update": 0.1, "outside": 0.1},
        ),
        limits=SimpleNamespace(idle_share=0.05),
        sequences_ended=12,
        preemption_cost=PreemptionCost(4, 3, 0, 100, 100, 0.1, 900 * MS, 250.0 * MS, worst, {}),
        composition=None,
        kv_fragmentation=None,
        straggler=None,
        phases=None,
        device=None,
    )
    for name, value in more.items():
        setattr(whole, name, value)
    return {metric.name: metric.value(whole) for metric in ENGINE_METRICS}


def test_who_suffered_from_preemption() -> None:
    found = made()
    assert (found["preempted_share"], found["preempted_away_s"]) == (0.25, 0.9)
    assert (found["preempted_away_longest_s"], found["recompute_s"]) == (0.5, 0.25)


def test_what_is_not_recorded_is_no_figure() -> None:
    found = made()
    assert {name for name, value in found.items() if value is None} == {
        *("kv_fragmentation", "device_idle_share", "step_tokens", "step_requests", "straggler_rank"),
        *(
            "straggler_behind_ms",
            *(f"{kind}_token_share" for kind in ("prefill", "recomputed", "decode", "speculative")),
        ),
    }


def test_batches_and_slow_ranks() -> None:
    shares = {"prefill": 0.2, "recomputed": 0.1, "decode": 0.7, "speculative": 0.0}
    found = made(
        composition=Composition(shares, {}, {}, {}, 40.0, 8.0), straggler=Straggler(2, 0.6, 4, 3.0 * MS, "host")
    )
    assert (found["prefill_token_share"], found["step_tokens"], found["step_requests"]) == (0.2, 40, 8)
    assert (found["straggler_rank"], found["straggler_behind_ms"]) == (2, 3)


def test_every_metric_has_a_name_of_its_own() -> None:
    """Those of costs and energy are compared, too, and are the same figures there."""
    names = [metric.name for metric in (*METRICS, *ENGINE_METRICS)]
    assert len(set(names)) == len(names)
    formulas = {metric.name: metric.formula for metric in COMPARED}
    shared = [metric for metric in MONEY if metric.name in formulas]
    assert [metric.formula for metric in shared] == [formulas[metric.name] for metric in shared]
    assert {metric.name for metric in shared} == {metric.name for metric in (*ENERGY, *COST_PER_ITEM)}
