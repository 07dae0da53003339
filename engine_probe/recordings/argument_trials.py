"""The trials of an opened search over engine arguments."""

from engine_probe.analysis.compare.argument_trials import OUTPUT, UNITS, ArgumentTrials, Trial, at_best_load, scored
from engine_probe.analysis.statistics.grouped import grouped
from engine_probe.recordings.sweep import Swept, slo_of_search


def trials_of(swept: Swept) -> ArgumentTrials | None:
    """Return the trials in their order, each at its best load where that was searched for, too.

    None if the sweep searched for no engine arguments, or has none yet.
    """
    search = swept.asked.get("search")
    if not isinstance(search, dict) or not swept.points:
        return None
    asked, limited = search.get("objective", OUTPUT), slo_of_search(swept.asked) is not None
    objective, any_load = asked if asked in UNITS else OUTPUT, bool(swept.asked.get("adaptive"))
    points = grouped(swept.points, lambda point: (point.label, int(point.asked.get("repeat", 0))))
    trials = []
    for (_, repeat), found in points.items():
        measured = []
        for point in found:
            score = scored(point.figures, objective) if point.figures else None
            load = point.load_name if any_load else ""
            measured.append(Trial(point.id, point.curve, repeat, score, point.reason, limited, load))
        trials.append(at_best_load(measured))
    return ArgumentTrials(tuple(trials), UNITS[objective], len(swept.points))
