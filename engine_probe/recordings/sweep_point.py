"""A point of an opened sweep, with its recording or the reason why there is none."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine_probe.analysis.compare.probe_cost import Timed
from engine_probe.analysis.curve.held_load import HeldLoad, held_load
from engine_probe.analysis.curve.levels import PointFigures
from engine_probe.analysis.curve.settings import curve_name
from engine_probe.analysis.run.slo import Slo
from engine_probe.analysis.run_analysis import RunAnalysis
from engine_probe.errors import InputError
from engine_probe.notebook_view import NotebookView
from engine_probe.record.run_folder import COMPLETE
from engine_probe.recordings.perplexity import POINTS_FOLDER
from engine_probe.recordings.run import Run, load
from engine_probe.recordings.unprobed import probed, ran_unprobed, read_unprobed
from engine_probe.text_format import duration, plain
from engine_probe.workload.load import load_words


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

    @property
    def unprobed(self) -> bool:
        """Return whether the point completed without the probe."""
        return self.timed is not None and not self.timed.probed

    @property
    def label(self) -> str:
        """Name its curve; empty if the sweep has one curve."""
        return curve_name(self.curve)

    @property
    def name(self) -> str:
        load = load_words(self.load, self.unit)
        return f"{load}, {self.label}" if self.label else load

    @property
    def figures(self) -> PointFigures | None:
        if self.analysis is None:
            return None
        found = self.analysis
        began = self.run.facts["clock"]["wall_ns"] if self.run else 0
        return PointFigures(self.id, self.load, found.summary, found.limits, found.composition, self.held, began)

    def __repr__(self) -> str:
        if self.analysis is None:
            return plain(f"<SweptPoint {self.name}: {self.reason}>")
        found = self.analysis.summary
        return plain(
            f"<SweptPoint {self.name}: {found.output_tokens_per_s:,.1f} output tokens/s, TTFT p50 "
            f"{duration(found.ttft.percentiles_ns[50])}, bottleneck {self.analysis.limits.main}>"
        )


def open_point(
    folder: Path,
    id_: str,
    curve: dict[str, Any],
    load_: tuple[float, str],
    reason: str,
    asked: dict[str, Any],
    slo: Slo | None,
) -> SweptPoint:
    """Open a point; an error becomes the reason for its missing recording."""
    place = folder / POINTS_FOLDER / Path(id_).name
    without = ran_unprobed(place, asked)
    if not without and not (place / "run.json").is_file():
        return SweptPoint(id_, curve, *load_, None, None, reason)
    try:
        if without:
            return SweptPoint(id_, curve, *load_, None, None, reason, read_unprobed(place, asked))
        run = load(place)
        if run.status != COMPLETE:
            return SweptPoint(id_, curve, *load_, run, None, "; ".join(run.notes))
        found = run.analysis(slo)
        held = held_load(asked.get("workload", asked), run.iterations, run.requests, found.summary.after_warm_up)
        return SweptPoint(id_, curve, *load_, run, found, timed=probed(run, asked), held=held)
    except InputError as error:
        return SweptPoint(id_, curve, *load_, None, None, str(error))
