"""What drafts gain or lose over the load: curves of one sweep, of which one has drafts and the other none.

The two differ only in the settings of speculative decoding, which the curve without drafts lacks. The gain at a load is
the throughput with drafts over that without, less one.
"""

from collections.abc import Mapping, Sequence

from engine_probe.analysis.curve.curve_settings import curve_name
from engine_probe.analysis.curve.raised_limits import ChangedThroughput, MeasuredCurve, rates


def drafts_gain(curves: Sequence[MeasuredCurve]) -> Mapping[str, list[ChangedThroughput]]:
    """Return the gain at each load that both curves have, by the settings of the drafts; empty if none was measured."""
    found: dict[str, list[ChangedThroughput]] = {}
    for drafting in curves:
        plain = without_drafts(drafting, curves)
        if plain is None:
            continue
        before, after = rates(plain), rates(drafting)
        shared = {name: value for name, value in drafting.settings.items() if plain.settings.get(name) == value}
        effects = [
            ChangedThroughput(shared, load, drafting.unit, before[load], after[load])
            for load in sorted(before.keys() & after.keys())
        ]
        if effects:
            found[curve_name(drafting.settings)] = effects
    return found


def without_drafts(drafting: MeasuredCurve, curves: Sequence[MeasuredCurve]) -> MeasuredCurve | None:
    """Return the curve without drafts that is otherwise like this one with drafts. None if there is none."""
    plain = [each for each in curves if not any(point.speculation for point in each.figures)]
    if drafting in plain:
        return None
    shared = [name for name in drafting.settings if any(each.settings.get(name) is not None for each in plain)]
    alike = (
        each
        for each in plain
        if each.unit == drafting.unit and all(each.settings.get(name) == drafting.settings[name] for name in shared)
    )
    return next(alike, None)
