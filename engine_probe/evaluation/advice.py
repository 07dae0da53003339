"""Advice on the curves of a sweep, from their levels and the KV pools of their engines."""

from collections.abc import Sequence

from engine_probe.analysis.advice import advice
from engine_probe.analysis.advice.curve_case import Advice, Case, KvPool
from engine_probe.engine.parallelism import recorded_rank_count
from engine_probe.evaluation.published.published_comparison import plain_model
from engine_probe.recordings.curve import Curve
from engine_probe.recordings.sweep import Swept


def advised(swept: Swept, curves: Sequence[Curve]) -> list[Advice]:
    return advice([case for curve in curves if (case := case_of(swept, curve)) is not None])


def case_of(swept: Swept, curve: Curve) -> Case | None:
    run = next((point.run for point in swept.curves[curve.label] if point.run and point.analysis), None)
    if run is None:
        return None
    kv = run.facts["kv"]
    return Case(
        settings=curve.settings,
        unit=curve.unit,
        found=curve.found,
        figures=curve.figures,
        model=plain_model(run.facts["model"]["name"]),
        pool=KvPool(
            blocks=kv["blocks"],
            block_tokens=kv["block_size_tokens"],
            block_bytes=kv["bytes_per_block"],
            layers=run.facts["model"]["num_layers"],
            kv_heads=run.facts["model"]["num_kv_heads"],
            head_size=run.facts["model"]["head_size"],
        ),
        ranks=recorded_rank_count(run.facts) or 1,
    )
