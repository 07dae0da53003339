"""Earlier measurements of what is compared, which show how far two of them differ on this machine."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine_probe.analysis.compare.changes import Change, Moments, occasion_means
from engine_probe.analysis.compare.drift import with_drift
from engine_probe.analysis.run.slo import Slo
from engine_probe.analysis.run.summary import Summary
from engine_probe.evaluation.measurement import Opened, opened
from engine_probe.evaluation.setting_differences import MACHINE, setting_differences
from engine_probe.recordings.remote_folder import place_name

TWO_MACHINES = "The two sides were measured on different machines: earlier measurements of both are needed (--history)"
History = Sequence[tuple[Path, Opened]]


@dataclass(frozen=True)
class Earlier:
    """Holds the earlier measurements of each of two sides, and why others were left out."""

    sides: tuple[list[Opened], list[Opened]]
    left_out: list[str]
    compared_ns: tuple[int, int] = (0, 0)  # when the two were measured

    @property
    def count(self) -> int:
        return sum(map(len, self.sides))

    def drifted(self, name: str, changes: Sequence[Change], slo: Slo | None) -> list[Change]:
        """Return the changes of a point with intervals that include the drift, for metrics where it is known."""
        engines = [side for side in self.sides if side]
        summaries = [[summaries_of(each, name, slo) for each in side] for side in engines]
        found = []
        for change in changes:
            means = [occasion_means(change.metric, occasions) for occasions in summaries]
            known = [(values, side) for values, side in zip(means, engines, strict=True) if values is not None]
            when = tuple(tuple(each.started_ns for each in side) for _, side in known)
            found.append(with_drift(change, [values for values, _ in known], Moments(when, *self.compared_ns)))
        return found


def summaries_of(measured: Opened, name: str, slo: Slo | None) -> list[Summary]:
    return [run.summary(slo) for run in measured.points[name].runs]


def open_history(folders: Sequence[Path], compared: Sequence[Path]) -> History:
    """Open the earlier measurements, each once, without those that are compared."""
    places = {folder.resolve(): folder for folder in folders}
    for folder in compared:
        places.pop(folder.resolve(), None)
    return [(folder, opened(folder)) for folder in places.values()]


def earlier_of(history: History, before: Opened, after: Opened, names: Sequence[str]) -> Earlier:
    """Sort earlier measurements to the side that they repeat. Nothing is known of a second machine without its own."""
    if not names:
        return Earlier(([], []), [])
    found = Earlier(([], []), [], (before.started_ns, after.started_ns))
    for folder, each in history:
        reasons = [mismatch(each, side, names) for side in (before, after)]
        if all(reasons):
            found.left_out.append(f"{place_name(folder)} is no earlier measurement of either side: {reasons[0]}")
        else:
            found.sides[reasons.index("")].append(each)
    changed = setting_differences(before.points[names[0]].runs[0], after.points[names[0]].runs[0])
    two_machines = any(difference.name.startswith(MACHINE) for difference in changed)
    if found.count and two_machines and not all(found.sides):
        return Earlier(([], []), [*found.left_out, TWO_MACHINES])
    return found


def mismatch(measured: Opened, side: Opened, names: Sequence[str]) -> str:
    """Return how a measurement differs from one of the compared; empty if it is a repetition on the same machine."""
    if measured.kind != side.kind:
        return f"it is a {measured.kind}"
    for name in names:
        if name not in measured.points:
            return f"it has no complete {name}"
        runs, known = measured.points[name].runs, side.points[name].runs
        if found := setting_differences(known[0], runs[0]):
            return ", ".join(f"{each.title} {each.before} → {each.after}" for each in found)
        if measured.points[name].ids != side.points[name].ids:
            return f"{name} has other settings"
    return ""
