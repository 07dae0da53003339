"""Several measurements of the same points on one axis: over time, versions of vLLM, or given labels such as commits."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path

import numpy as np

from engine_probe.analysis.compare.changes import COMPARED, Change, Metric, occasion_means, tested
from engine_probe.analysis.compare.trend import Trend, trends
from engine_probe.analysis.run.slo import Slo
from engine_probe.errors import InputError
from engine_probe.evaluation.comparison import Comparison, corrected_pairs
from engine_probe.evaluation.history import summaries_of
from engine_probe.evaluation.measurement import Opened, opened, refuse_twice
from engine_probe.evaluation.occasions import between
from engine_probe.evaluation.setting_differences import difference_lines, setting_differences
from engine_probe.notebook_view import NotebookView
from engine_probe.recordings.experiment import named

FEWEST = 3  # measurements that are a trend, if not yet one that can be tested
TIME, VLLM = "time", "vllm"
# The figures that are followed: few, because every further one makes the test of each weaker.
FOLLOWED = ("output_tokens_per_s", "goodput_requests_per_s", "ttft_p50_ms", "tpot_p50_ms", "e2el_p50_ms")


@dataclass(frozen=True)
class Occasion:
    """One measurement, with its place on the axis."""

    name: str
    label: str
    started_ns: int


@dataclass(frozen=True)
class TrendOver(NotebookView):
    """What was followed over the occasions, in the order of the axis. Jupyter shows what changed, and the figures."""

    axis: str
    occasions: tuple[Occasion, ...]
    together: tuple[Trend, ...]  # the geometric mean over all points; empty for a single point
    points: dict[str, tuple[Trend, ...]]
    last: Comparison  # the measurements of the last label against those before
    settings: tuple[str, ...]  # a sentence for each occasion at which settings changed

    @property
    def main(self) -> tuple[Trend, ...]:
        """Return the trends over all points, or those of the only one."""
        return self.together or next(iter(self.points.values()))


def trend_over(folders: Sequence[str | PathLike[str]], axis: str = TIME, slo: Slo | None = None) -> TrendOver:
    """Follow the figures of runs or sweeps over an axis: `time`, `vllm`, or labels with commas, one for each folder."""
    return followed([Path(folder) for folder in folders], axis, slo)


def followed(folders: Sequence[Path], axis: str, slo: Slo | None) -> TrendOver:
    found = [opened(folder) for folder in folders]
    check(folders, found)
    labels = labels_of(axis, found)
    order = in_order(axis, labels, found)
    folders, found = [folders[place] for place in order], [found[place] for place in order]
    labels = [labels[place] for place in order]
    names = [name for name in found[0].points if all(name in each.points for each in found)]
    if not names:
        raise InputError(f"{folders[0]} and the others have no point in common: nothing can be followed")
    figures = {name: figures_of(name, found, slo) for name in names}
    single = iter(trends([pair for pairs in figures.values() for pair in pairs]))
    occasions = (
        Occasion(name, label, each.started_ns) for name, label, each in zip(named(folders), labels, found, strict=True)
    )
    return TrendOver(
        axis if axis in (TIME, VLLM) else "labels",
        tuple(occasions),
        tuple(trends(pooled(list(figures.values()))) if len(names) > 1 else ()),
        {name: tuple(next(single) for _ in pairs) for name, pairs in figures.items()},
        last_against(folders, found, labels, slo),
        tuple(setting_changes(found, labels, names[0])),
    )


def check(folders: Sequence[Path], found: Sequence[Opened]) -> None:
    if len(folders) < FEWEST:
        raise InputError(f"--trend follows figures over at least {FEWEST} measurements, and there are {len(folders)}")
    refuse_twice(folders)
    for folder, each in zip(folders, found, strict=True):
        if each.kind != found[0].kind:
            what = f"{folders[0]} is a {found[0].kind} and {folder} a {each.kind}"
            raise InputError(f"{what}: --trend follows several runs, or several sweeps")
        if not each.points:
            raise InputError(f"{folder} has no complete point: finish it first (sweep --resume), or leave it out")


def labels_of(axis: str, found: Sequence[Opened]) -> list[str]:
    if axis == TIME:
        moments = (datetime.fromtimestamp(each.started_ns / 1e9, UTC) for each in found)
        return [f"{moment:%Y-%m-%d %H:%M}" for moment in moments]
    if axis == VLLM:
        return [str(next(iter(each.points.values())).runs[0].facts["versions"]["vllm"]) for each in found]
    labels = [label.strip() for label in axis.split(",")]
    if len(labels) != len(found) or not all(labels):
        raise InputError(
            f"--trend {axis}: give time, vllm, or {len(found)} labels with commas, one for each measurement"
        )
    return labels


def in_order(axis: str, labels: Sequence[str], found: Sequence[Opened]) -> list[int]:
    """Return the places in the order of time, or of the first measurement of each label as they were named."""
    if axis == TIME:
        return sorted(range(len(found)), key=lambda place: found[place].started_ns)
    return sorted(range(len(found)), key=lambda place: labels.index(labels[place]))


def figures_of(name: str, found: Sequence[Opened], slo: Slo | None) -> list[tuple[Metric, list[float]]]:
    """Return the followed figures of a point that all occasions have: the mean over its repeats at each."""
    summaries = [summaries_of(each, name, slo) for each in found]
    means = ((metric, occasion_means(metric, summaries)) for metric in COMPARED if metric.name in FOLLOWED)
    return [(metric, list(values)) for metric, values in means if values is not None]


def pooled(points: Sequence[Sequence[tuple[Metric, list[float]]]]) -> list[tuple[Metric, list[float]]]:
    """Return the geometric mean over all points of each figure that all have, which is one number of each occasion."""
    by_metric: dict[Metric, list[list[float]]] = {}
    for pairs in points:
        for metric, values in pairs:
            by_metric.setdefault(metric, []).append(values)
    return [
        (metric, np.exp(np.log(np.array(rows)).mean(axis=0)).tolist())
        for metric, rows in by_metric.items()
        if len(rows) == len(points) and metric.in_proportion and np.min(rows) > 0
    ]


def last_against(
    folders: Sequence[Path], found: Sequence[Opened], labels: Sequence[str], slo: Slo | None
) -> Comparison:
    """Compare the measurements of the last label with all before; a single one by the scatter of those."""
    place = labels.index(labels[-1])
    if not place:
        raise InputError(f"all measurements have the label {labels[-1]}: there is nothing before the last")
    comparison = between(folders[:place], found[:place], folders[place:], found[place:], slo)
    pairs = [replace(pair, changes=[by_scatter(each) for each in pair.changes]) for pair in comparison.pairs]
    return replace(comparison, pairs=corrected_pairs(pairs))


def by_scatter(change: Change) -> Change:
    p, interval = tested(change.old, change.new)
    return replace(change, p=p, interval=interval)


def setting_changes(found: Sequence[Opened], labels: Sequence[str], name: str) -> Iterator[str]:
    """Yield which settings differ from those of the measurement before, at each occasion at which some do."""
    runs = [each.points[name].runs[0] for each in found]
    for label, old, new in zip(labels[1:], runs, runs[1:], strict=False):
        if lines := list(difference_lines(setting_differences(old, new))):
            yield f"{label}: {'; '.join(lines)}"
