"""A search over engine arguments: the best setting and its gain, the trials as a chart and a table, and the effects."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from engine_probe.analysis.compare.argument_trials import ArgumentEffect, ArgumentTrials, Gain, Trial
from engine_probe.analysis.curve.curve_settings import curve_name
from engine_probe.analysis.run.slo import Slo
from engine_probe.analysis.statistics.repeats import rate_and_reach, repeated
from engine_probe.analysis.statistics.student import SIGNIFICANT
from engine_probe.report.charts.model import Axis, Lines, Series
from engine_probe.report.document import Cell, Column, Figure, Section, Sentence, Table, says, spread, sure, table
from engine_probe.report.sections.compare.change_words import chance, signed
from engine_probe.text_format import counted, rate_words

MOST_GAIN = 10.0  # the end of an interval beyond which it says nothing
LONGEST_REASON = 240  # characters
METHOD = (
    "The best of many measurements is partly the luckiest. The gain is therefore that of the repeats alone, made after "
    "the search in turns with the baseline, each on a new engine (Welch of the logarithms, 95%); it does not include "
    "what changes from one day to another."
)
LOAD_METHOD = (
    "Each setting counts at the best of its measured loads: within the limits the one with the most, else the nearest "
    "to them. Repeats are made at that load alone."
)
EFFECT_METHOD = (
    "Numbers: Spearman's rank correlation; choices: medians. p is of a permutation test, corrected for the number of "
    "arguments (Holm). The search looks where it found more, and arguments vary together: no planned experiment."
)


def search_sections(found: ArgumentTrials, slo: Slo | None) -> Iterator[Section]:
    """Yield the verdict, the effects of the arguments, and the trials."""
    yield Section(
        figures=tuple(figures(found)),
        sentences=(*verdict(found, slo), *says(counts(found, slo))),
        charts=lambda: [trials_chart(found)],
        details=sure(*doubts(found)),
        shown="always",
    )
    yield effects_section(found)
    lost = says(lost_words(found), "caution")
    yield Section("Trials", sentences=lost, tables=(trials_table(found),), shown="always", asked=True)


def figures(found: ArgumentTrials) -> Iterator[Figure]:
    if found.gain is not None:
        interval = found.gain.interval
        mark = "" if interval is not None and interval[0] > 0 else "not shown"
        yield Figure("gain over the baseline", signed(found.gain.relative, 0), mark)
        yield Figure(f"best setting, {found.unit}", repeats_words(found.gain.after))
        yield Figure(f"baseline, {found.unit}", repeats_words(found.gain.before))


def verdict(found: ArgumentTrials, slo: Slo | None) -> Iterator[Sentence]:
    """Yield the best setting, what it gains and how sure that is."""
    best = found.challenger
    if best is None:
        reason = "meets the limits" if found.infeasible and not found.first.is_feasible else "besides the baseline runs"
        yield Sentence(f"No setting {reason}.", "problem")
        return
    name, gain = curve_name(best.setting) + (f", at {best.load}" if best.load else ""), found.gain
    if gain is None:
        yield Sentence(f"Best of {counted(len(found.searched), 'setting')}: {name}. {alone(found, best)}", "caution")
        return
    yield Sentence(gain_words(found, name, gain))
    if limits := limit_words(found, best, slo):
        yield limits
    if found.as_good and gain.interval is not None and gain.interval[0] > 0:
        yield Sentence(as_good_words(found, min(gain.after)))
    if gain.interval is not None and gain.interval[0] > 0:
        yield Sentence(f"Its arguments: {options(best.setting)}", command=True)


def alone(found: ArgumentTrials, best: Trial) -> str:
    """Say what single measurements show."""
    value = f"{rate_words(best.value)} {found.unit}"
    if found.first.score is None:
        return f"It gave {value}; the baseline could not run."
    return (
        f"It gave {value}, {signed(best.value / found.first.value - 1, 0)} against the baseline, in one measurement "
        "each: the best of many is partly the luckiest (search.confirm repeats both)."
    )


def gain_words(found: ArgumentTrials, name: str, gain: Gain) -> str:
    after, before = (f"{repeats_words(side)} {found.unit}" for side in (gain.after, gain.before))
    repeats = f"{len(gain.after)} repeats" if len(gain.after) > 1 else "one repeat"
    change, interval = signed(gain.relative, 0), gain.interval
    if interval is None:
        return f"Best setting: {name}: {after}, {change} against the baseline ({before}); {repeats}, no interval."
    if interval[1] > MOST_GAIN:
        return f"The repeats differ too much to compare {name} ({after}) with the baseline ({before})."
    low, high = (signed(end, 0) for end in interval)
    sure = f"{change} ({low} to {high}, 95%, {repeats} of each in turns)"
    if interval[0] > 0:
        return f"Best setting: {name}: {after}, a gain of {sure} over the baseline ({before})."
    if interval[1] < 0:
        return f"No setting beats the baseline ({before}): the best other, {name}, gives {after}: {sure}."
    return f"No gain over the baseline ({before}) is shown: the best other setting, {name}, gives {after}: {sure}."


def as_good_words(found: ArgumentTrials, least: float) -> str:
    """Say which settings the measurements do not tell from the best."""
    numbers, several = found.as_good, len(found.as_good) > 1
    named = f"{', '.join(map(str, numbers[:-1]))} and {numbers[-1]}" if several else str(numbers[0])
    trials = "Trials" if several else "Trial"
    return (
        f"{trials} {named} measured once at least what the best setting gave in its lowest repeat "
        f"({rate_words(least)}), and may be as good."
    )


def repeats_words(values: Sequence[float]) -> str:
    over = repeated(values)
    assert over is not None
    if over.reach is not None and over.reach > over.mean:
        return f"{rate_words(over.mean)} ({rate_words(min(values))} to {rate_words(max(values))})"
    return rate_and_reach(over)


def limit_words(found: ArgumentTrials, best: Trial, slo: Slo | None) -> Sentence | None:
    """Say how often the best setting and the baseline met the limits when they were repeated."""
    if slo is None:
        return None
    words = []
    for name, side in (("The best setting", best), ("the baseline", found.first)):
        repeats = found.repeats(side)
        words.append(f"{name} in {sum(each.is_feasible for each in repeats)} of {len(repeats)} repeats")
    missed = not all(each.is_feasible for each in found.repeats(best))
    met = f"meets {slo.words} ({slo.percentile:g}% of the requests)"
    near = ": it is near the limit" if missed else ""
    return Sentence(f"{words[0]} {met}{near}; {words[1]}.", "caution" if missed else "plain")


def counts(found: ArgumentTrials, slo: Slo | None) -> Iterator[str]:
    loads = f" at {counted(found.points, 'load')} in all, repeats included" if found.first.load else ""
    words = [f"{counted(len(found.searched), 'setting')} tried{loads}"]
    if found.infeasible:
        words.append(f"{len(found.infeasible)} miss {slo.words if slo else 'the limits'}")
    if found.failed:
        words.append(f"{len(found.failed)} could not run")
    yield f"{', '.join(words)}."


def doubts(found: ArgumentTrials) -> Iterator[str]:
    yield METHOD
    if found.first.load:
        yield LOAD_METHOD
    if found.challenger and found.gain:
        kept = sum(found.gain.after) / len(found.gain.after)
        value, more = rate_words(found.challenger.value), signed(found.challenger.value / kept - 1, 1)
        yield f"In the search itself the best setting measured {value}: {more} against its repeats."


def options(setting: Mapping[str, Any]) -> str:
    """Return a setting as vLLM's command line takes it; what is left to vLLM is left out."""
    words = []
    for name, value in setting.items():
        dashed = name.replace("_", "-")
        if value == "default":
            continue
        if isinstance(value, bool):
            words.append(f"--{dashed}" if value else f"--no-{dashed}")
        else:
            words.append(f"--{dashed}={value if isinstance(value, str) else json.dumps(value)}")
    return " ".join(words)


def trials_chart(found: ArgumentTrials) -> Lines:
    """Return the value of each trial by its number, the best so far, and the repeats behind them."""
    numbers = range(1, len(found.trials) + 1)

    def values(wanted: Any) -> list[float | None]:
        return [trial.value if trial.score and wanted(trial) else None for trial in found.trials]

    best, so_far = None, list[float | None]()
    for trial in found.trials:
        if not trial.repeat and trial.is_feasible:
            best = max(best or 0.0, trial.value)
        so_far.append(None if trial.repeat else best)
    missed = values(lambda each: not each.repeat and not each.is_feasible)
    series = [
        Series("best so far", so_far, style="step", colour=0),
        Series("setting", values(lambda each: not each.repeat and each.is_feasible), style="dots", colour=0),
        Series("misses the limits", missed, style="dots", colour=3),
        Series("baseline", values(lambda each: each.name == found.first.name), style="dots", colour=2),
    ]
    if (again := found.challenger) is not None:
        series.append(
            Series(
                "best, repeated", values(lambda each: each.repeat and each.name == again.name), style="dots", colour=1
            )
        )
    lost = [str(number) for number, trial in zip(numbers, found.trials, strict=True) if trial.score is None]
    note = f"Could not run: trial {', '.join(lost)}." if lost else ""
    shown = [each for each in series if any(value is not None for value in each.values)]
    return Lines("Trials", note, Axis("trial", whole=True), [Axis(found.unit)], [float(n) for n in numbers], shown)


def trials_table(found: ArgumentTrials) -> Table:
    """Return a row for each setting, in the order of the search."""
    limited = found.first.limited
    columns = (
        Column("trial"),
        *(Column(name, words=True, short=name.replace("_", "_\n", 2)) for name in found.first.setting),
        Column(found.unit.replace(" ", "\n", 1)),
        *[Column("best load", words=True)] * bool(found.first.load),
        Column("against the baseline", short="against\nbaseline", room="spare"),
        *[Column("of the tightest limit", short="of the\nlimit")] * limited,
        Column("repeats", room="page"),
        Column("outcome", words=True),
    )
    telling = [place for place, trial in enumerate(found.searched) if trial in (found.first, found.challenger)]
    rows = [row(found, number, trial) for number, trial in enumerate(found.searched, 1)]
    return replace(table(columns, rows), telling=spread(len(rows), telling), row="trial")


def row(found: ArgumentTrials, number: int, trial: Trial) -> tuple[Cell | str, ...]:
    first, score, repeats = found.first, trial.score, found.repeats(trial)
    against = score and first.score and trial is not first
    strain = "-" if score is None or score.strain is None else f"{score.strain:.0%}"
    return (
        str(number),
        *(value if isinstance(value, str) else json.dumps(value) for value in trial.setting.values()),
        rate_words(trial.value) if score else "-",
        *[trial.load if score else "-"] * bool(first.load),
        signed(trial.value / first.value - 1, 0) if against else "-",
        *[strain] * first.limited,
        repeats_words([each.value for each in repeats]) if repeats else "-",
        outcome(found, trial),
    )


def lost_words(found: ArgumentTrials) -> Iterator[str]:
    """Yield each reason why settings could not run, with their trials."""
    reasons: dict[str, list[str]] = {}
    for number, trial in enumerate(found.searched, 1):
        if trial.score is None:
            reasons.setdefault(trial.reason, []).append(str(number))
    for reason, trials in reasons.items():
        cut = reason[:LONGEST_REASON] + " ..." * (len(reason) > LONGEST_REASON)
        yield f"Could not run: {'trials' if len(trials) > 1 else 'trial'} {', '.join(trials)}: {cut}"


def outcome(found: ArgumentTrials, trial: Trial) -> Cell:
    if trial.score is None:
        return Cell("could not run", "problem")
    if not trial.is_feasible:
        return Cell("misses the limits", "caution")
    if trial is found.first:
        return Cell("baseline")
    return Cell("best", "good") if trial is found.challenger else Cell("")


def effects_section(found: ArgumentTrials) -> Section:
    """Return what each argument did, as far as the trials support it."""
    if not found.effects:
        return Section()
    known = [each for each in found.effects if each.p < SIGNIFICANT]
    unknown = [each.argument for each in found.effects if each.p >= SIGNIFICANT]
    sentences = [*map(effect_words, known)]
    if unknown:
        sentences.append(f"No effect of {', '.join(unknown)} is shown by these trials.")
    rows = ((each.argument, effect_cell(each), chance(each.p)) for each in found.effects)
    return Section(
        "Effect of each argument",
        sentences=says(sentences),
        tables=(table(("argument", "effect", "p"), rows, words=(0, 1)),),
        details=sure(EFFECT_METHOD),
        shown="always",
    )


def effect_words(effect: ArgumentEffect) -> str:
    if effect.correlation is None:
        best = max(effect.medians, key=lambda choice: effect.medians[choice][0])
        return f"{effect.argument}: {best} gave the most."
    return f"{effect.argument}: higher values gave {'more' if effect.correlation > 0 else 'less'}."


def effect_cell(effect: ArgumentEffect) -> str:
    if effect.correlation is not None:
        return f"rank correlation {effect.correlation:+.2f}"
    return ", ".join(f"{choice}: {rate_words(median)} ({count})" for choice, (median, count) in effect.medians.items())
