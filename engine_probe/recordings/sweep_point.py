"""A point of an opened sweep: its recording, or why it has none; without the probe, its time by the driver's clock."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from engine_probe.analysis.compare.probe_cost import Timed, pair_of, probe_cost, probe_cost_line
from engine_probe.analysis.curve.curve_settings import curve_name
from engine_probe.analysis.curve.held_load import HeldLoad, held_load
from engine_probe.analysis.curve.levels import PointFigures
from engine_probe.analysis.run.slo import Slo
from engine_probe.analysis.run_analysis import RunAnalysis
from engine_probe.errors import InputError
from engine_probe.files.safe_read import read_json_as
from engine_probe.notebook_view import NotebookView
from engine_probe.record.run_folder import COMPLETE, DRIVEN_FILE
from engine_probe.recordings.cluster import Cluster, cluster_of, measured_together, open_cluster
from engine_probe.recordings.perplexity import point_folder
from engine_probe.recordings.run import Run, load
from engine_probe.text_format import counted, duration, plain
from engine_probe.workload.load import load_words

FAILED = "failed"  # the status of a row whose point could not be measured
NO_RECORDING = "no recording"  # the reason of a row that gives none


class DriverClock(msgspec.Struct, frozen=True):
    started_ns: int
    ended_ns: int

    def __post_init__(self) -> None:
        if self.ended_ns <= self.started_ns:
            raise ValueError("it ends before it began")

    @property
    def seconds(self) -> float:
        return (self.ended_ns - self.started_ns) / 1e9


def probed(run: Run, asked: Mapping[str, Any]) -> Timed | None:
    """Return how long a recorded point took by the driver's clock. None if the driver did not run it."""
    try:
        return Timed(
            pair_of(asked), probed=True, seconds=msgspec.convert(run.facts.get("outcome"), DriverClock).seconds
        )
    except msgspec.ValidationError:
        return None


def unprobed_lines(points: Sequence[Timed]) -> Iterator[str]:
    """Yield the probe's cost by pairs, and how many points without the probe have no partner."""
    if found := probe_cost(points):
        yield probe_cost_line(found)
    partners = {point.pair for point in points if point.probed}
    if alone := sum(not point.probed and point.pair not in partners for point in points):
        line = f"{counted(alone, 'point')} ran without the probe and had no partner with it"
        yield f"{line}: only the driver's clock is known."


@dataclass(frozen=True)
class SweptPoint(NotebookView):
    """A point with its complete recording, or with the reason why there is none, such as a run without the probe."""

    id: str
    curve: dict[str, Any]  # the settings, except the load, in which the sweep's points differ
    load: float
    unit: str  # of the load
    run: Run | None
    analysis: RunAnalysis | None
    reason: str = ""
    timed: Timed | None = None  # by the driver's clock, if it was recorded
    held: HeldLoad | None = None  # the part in which the load was held; None if it is missing or too short
    asked: Mapping[str, Any] = field(default_factory=dict)  # all its settings, as in `sweep.json`
    cluster: Cluster | None = None  # if several engines measured it; of a single one beside such points, itself

    @property
    def measured(self) -> bool:
        return self.analysis is not None or self.unprobed or self.cluster is not None

    @property
    def analyses(self) -> list[RunAnalysis]:
        """Return the analyses of its complete recordings."""
        if self.cluster is not None:
            return [engine.analysis for engine in self.cluster.engines]
        return [self.analysis] if self.analysis else []

    @property
    def runs(self) -> list[Run]:
        """Return its complete recordings: one, or one of each engine."""
        if self.cluster is not None:
            return [engine.run for engine in self.cluster.engines]
        return [self.run] if self.run and self.analysis else []

    @property
    def unprobed(self) -> bool:
        """Return whether the point completed without the probe."""
        return self.timed is not None and not self.timed.probed

    @property
    def label(self) -> str:
        """Name its curve; empty if the sweep has one curve."""
        return curve_name(self.curve)

    @property
    def load_name(self) -> str:
        return load_words(self.load, self.unit)

    @property
    def name(self) -> str:
        return f"{self.load_name}, {self.label}" if self.label else self.load_name

    @property
    def figures(self) -> PointFigures | None:
        if self.analysis is None:
            return None
        found = self.analysis
        began = self.run.facts["clock"]["wall_ns"] if self.run else 0
        return PointFigures(
            self.id,
            self.load,
            found.summary,
            found.limits,
            found.composition,
            self.held,
            began,
            found.graphs,
            found.speculation,
        )

    def __repr__(self) -> str:
        if self.cluster is not None:
            together = f"{self.cluster.output_tokens_per_s:,.1f} output tokens/s of {len(self.cluster.engines)} engines"
            return plain(f"<SweptPoint {self.name}: {together}>")
        if self.analysis is None:
            return plain(f"<SweptPoint {self.name}: {self.reason}>")
        found = self.analysis.summary
        return plain(
            f"<SweptPoint {self.name}: {found.output_tokens_per_s:,.1f} output tokens/s, TTFT p50 "
            f"{duration(found.ttft.percentiles_ns[50])}, bottleneck {self.analysis.limits.main}>"
        )


def open_point(
    folder: Path, row: Mapping[str, Any], curve: dict[str, Any], load_: tuple[float, str], slo: Slo | None
) -> SweptPoint:
    """Open the point of a row of `sweep.json`; an error becomes the reason for its missing recording."""
    place, asked = folder / point_folder(row), row["point"]
    reason = str(row.get("reason") or NO_RECORDING)
    point = SweptPoint(str(row["id"]), curve, *load_, None, None, reason, asked=asked)
    if measured_together(asked):
        return open_together(place, point, slo)
    unprobed = asked.get("probe") is False and (place / DRIVEN_FILE).is_file()
    if not unprobed and not (place / "run.json").is_file():
        return point
    try:
        if unprobed:
            seconds = read_json_as(place / DRIVEN_FILE, DriverClock).seconds
            return replace(point, timed=Timed(pair_of(asked), probed=False, seconds=seconds))
        run = load(place)
        if run.status != COMPLETE:
            return replace(point, run=run, reason="; ".join(run.notes))
        found = run.analysis(slo)
        later, profiled = found.summary.after_warm_up, run.profiled_span
        held = held_load(asked.get("workload", asked), run.iterations, run.requests, later, profiled)
        return replace(point, run=run, analysis=found, reason="", timed=probed(run, asked), held=held)
    except InputError as error:  # of a failed point its row says more
        return replace(point, reason=reason if row.get("status") == FAILED else str(error))


def open_together(place: Path, point: SweptPoint, slo: Slo | None) -> SweptPoint:
    """Open a point that several engines measured; it has no figures unless all of them are complete."""
    if not place.is_dir():
        return point
    try:
        return replace(point, cluster=open_cluster(place, point.asked, slo), reason="")
    except InputError as error:
        return replace(point, reason=point.reason if point.reason != NO_RECORDING else str(error))


def alone(point: SweptPoint) -> SweptPoint:
    """Return the point of a single engine as a cluster of one, to be shown beside larger ones."""
    if point.run is None or point.analysis is None:
        return point
    work = point.asked.get("workload", point.asked)
    try:
        return replace(point, cluster=cluster_of([point.run], [point.analysis], [(0, work)]))
    except InputError:
        return point
