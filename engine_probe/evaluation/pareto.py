"""The curves that may be compared by tokens/s per user and per GPU: those of the same model and workload."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from engine_probe.analysis.curve.curve_settings import NOT_THE_WORK, curve_name, differing, flat
from engine_probe.analysis.pareto import Device, Frontier, Served, ServingCurve, frontier, served_by, serving_curve
from engine_probe.analysis.statistics.level_noise import in_rounds
from engine_probe.recordings.cluster import Cluster
from engine_probe.recordings.sweep import Swept
from engine_probe.recordings.sweep_point import SweptPoint


@dataclass(frozen=True)
class SameWork:
    """Curves that were asked for the same work, except the load."""

    name: str  # the model and workload settings in which it differs from others; empty if there are no others
    curves: tuple[ServingCurve, ...]


def same_work(*sweeps: Swept, names: Sequence[str] = ()) -> list[SameWork]:
    """Return the curves of sweeps by the model and the work that they were asked for; `names` tell the sweeps apart."""
    groups: dict[str, list[tuple[str, list[SweptPoint], bool]]] = {}
    works: dict[str, dict[str, Any]] = {}
    for name, swept in zip(names or [""] * len(sweeps), sweeps, strict=True):
        apart = measured_in_rounds(swept)
        for points in swept.curves.values():
            work = work_of(points[0].asked)
            key = json.dumps([work, points[0].unit], sort_keys=True)
            works[key] = work
            groups.setdefault(key, []).append((name, points, apart))
    varied = differing(list(works.values()))
    found = []
    for key, alike in groups.items():
        names_needed = len(alike) > 1
        lines = [
            line
            for name, points, apart in alike
            if (line := curve_of(points, called(name, points, varied) if names_needed else "", apart)) is not None
        ]
        if lines:
            found.append(SameWork(curve_name({name: works[key].get(name) for name in varied}), tuple(lines)))
    return found


def measured_in_rounds(swept: Swept) -> bool:
    """Return whether other points were measured between the repeats of each point."""
    places = {key: place for place, key in enumerate(dict.fromkeys((each.label, each.load) for each in swept.points))}
    return in_rounds((places[each.label, each.load], started_ns(each)) for each in swept.points if each.runs)


def started_ns(point: SweptPoint) -> int:
    return min(int(run.facts["clock"]["wall_ns"]) for run in point.runs)


def work_of(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return a point's model, and the settings of its workload without the load."""
    engine, workload = (dict_of(asked.get(name)) for name in ("engine", "workload"))
    work = {"model": engine.get("model")} | flat(workload)
    return {name: value for name, value in work.items() if name not in NOT_THE_WORK}


def dict_of(value: object) -> Mapping[str, Any]:
    """Return a mapping; the settings of earlier sweeps, and of files from elsewhere, may lack it."""
    return value if isinstance(value, Mapping) else {}


def called(name: str, points: Sequence[SweptPoint], of_the_work: Sequence[str]) -> str:
    """Name a curve by its sweep and its settings."""
    settings = {key: value for key, value in points[0].curve.items() if key not in of_the_work}
    return ", ".join(filter(None, (name, curve_name(settings))))


def curve_of(points: Sequence[SweptPoint], name: str, apart: bool) -> ServingCurve | None:
    figures = [each for point in points if (each := point.figures) is not None]
    together = [served_together(point, point.cluster) for point in points if point.cluster and not point.figures]
    facts = [run.facts for point in points for run in point.runs]
    on_gpus = any(each.get("hardware", {}).get("gpus") or each.get("predicted", {}).get("bounds") for each in facts)
    device: Device = "GPU" if on_gpus else "rank"  # a prediction from a datasheet counts as measured on its GPU
    return serving_curve(name, points[0].unit, [*served_by(figures), *together], device, apart)


def served_together(point: SweptPoint, cluster: Cluster) -> Served:
    """Return what several engines served together, over the GPUs of all."""
    gpus = [engine.analysis.summary.gpus.cards for engine in cluster.engines]
    return Served(
        load=point.load,
        started_ns=started_ns(point),
        output_tokens_per_s=cluster.output_tokens_per_s,
        tpot_ns=cluster.tpot.percentiles_ns[50],
        gpus=None if None in gpus else sum(each or 0 for each in gpus),
    )


def figures(works: Sequence[SameWork]) -> list[dict[str, Any]]:
    """Return every level with its place, and who is best where, for JSON."""
    return [figures_of(work, frontier(work.curves)) for work in works]


def figures_of(work: SameWork, found: Frontier) -> dict[str, Any]:
    levels = [
        {
            "curve": placed.curve.name,
            "load": placed.level.load,
            "unit": placed.curve.unit,
            "tokens_per_s_per_user": asdict(placed.level.per_user),
            "tokens_per_s_per_gpu": asdict(placed.level.per_gpu),
            "gpus": placed.level.gpus,
            "status": placed.status,
            "better": placed.better and {"curve": placed.better_curve, "load": placed.better.load},
            "rivals": placed.rivals,
        }
        for placed in found.placed
    ]
    best = [
        {"after": each.after, "to": each.to, "curve": each.name, "not_told_apart_from": each.rivals}
        for each in found.stretches
    ]
    return {"work": work.name, "device": found.device, "levels": levels, "best_by_tokens_per_s_per_user": best}
