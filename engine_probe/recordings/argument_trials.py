"""The trials of an opened search over engine arguments."""

from collections import Counter

from engine_probe.analysis.compare.argument_trials import OUTPUT, UNITS, ArgumentTrials, Trial, scored
from engine_probe.recordings.sweep import Swept


def trials_of(swept: Swept) -> ArgumentTrials | None:
    """Return the trials in their order. None if the sweep searched for no engine arguments, or has none yet."""
    search = swept.asked.get("search")
    if not isinstance(search, dict) or not swept.points:
        return None
    asked, limited = search.get("objective", OUTPUT), search.get("slo") is not None
    objective = asked if asked in UNITS else OUTPUT
    before, trials = Counter[str](), []
    for point in swept.points:
        score = scored(point.figures, objective) if point.figures else None
        trials.append(Trial(point.id, point.curve, before[point.label], score, point.reason, limited))
        before[point.label] += 1
    return ArgumentTrials(tuple(trials), UNITS[objective])
