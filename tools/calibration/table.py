"""Markdown tables of a tally: how often each claim was made, what it promised, how often it was true, and a verdict."""

from collections.abc import Iterator, Sequence
from typing import Literal

from tools.calibration.claims import COSTLY, FALSE_ALARMS, PARTS, POINTS, Part, Topic
from tools.calibration.simulated.noise import KINDS
from tools.calibration.tally import BINS, Count, Tally, bin_of
from tools.result_page import table

Verdict = Literal["holds", "FAILS", "open", ""]

LEGEND = (
    "`holds` and `FAILS`: the whole 95 % interval of the share lies within the bound, or outside it;",
    "`open`: neither. In the tables of shares alone, **bold** is `FAILS` and a question mark is `open`.",
)


def verdict(topic: Topic, count: Count) -> Verdict:
    """Judge a count by the rule of its topic."""
    if not count.said or topic.rule == "share" or (topic.rule == "power" and not topic.near_best):
        return ""
    least, most = bounds(topic, count)
    low, high = count.interval
    if least <= low and high <= most:
        return "holds"
    return "FAILS" if high < least or low > most else "open"


def bounds(topic: Topic, count: Count) -> tuple[float, float]:
    """Return between which shares a claim keeps its promise."""
    if topic.rule == "false alarm":
        return 0.0, FALSE_ALARMS
    if topic.rule == "cost":
        return 0.0, COSTLY
    if topic.rule == "power":
        return max(0.0, count.mean_stated - POINTS), 1.0
    if topic.rule == "coverage":
        return (topic.nominal or 0.0) - POINTS, 1.0
    return max(0.0, count.mean_stated - POINTS), min(1.0, count.mean_stated + POINTS)


def promise(topic: Topic, count: Count) -> str:
    """Return what a claim promises: the mean of the stated probabilities, or its nominal level."""
    if topic.rule == "probability":
        return f"{count.mean_stated:.1%}"
    if topic.rule == "cost":
        return f"under {COSTLY:.0%}"
    if topic.rule == "power" and count.stated:
        return f"at best {count.mean_stated:.1%}"
    return "-" if topic.nominal is None else f"{topic.nominal:.0%}"


def tables(tally: Tally, apart: Sequence[str] = ()) -> Iterator[str]:
    """Yield the lines of all tables. Conditions in `apart` are left out of the first table of a part."""
    for part, of_part in PARTS.items():
        if topics := [topic for topic in of_part if any(tally.conditions(topic.name))]:
            yield from ("", f"### {part.capitalize()}", "")
            yield from verdict_table(tally, topics, apart)
            yield from condition_table(tally, topics)
            yield from bin_table(tally, [topic for topic in topics if topic.rule == "probability"], apart)


def summary(tally: Tally, apart: Sequence[str] = ()) -> Iterator[str]:
    """Yield how many claims hold, and what fails: over all noise, under one kind, or where so much was stated."""
    topics = [topic for of_part in PARTS.values() for topic in of_part if any(tally.conditions(topic.name))]
    found = [verdict(topic, tally.over(topic.name, together(tally, topic, apart))) for topic in topics]
    counts = {each: found.count(each) for each in ("holds", "open", "FAILS")}
    yield ", ".join(f"{counts[each]} {each}" for each in counts) + f" of {sum(counts.values())} claims with a bound."
    failing = [line for topic in topics for line in failures(tally, topic, apart)]
    cells = sum(bool(verdict(topic, count)) for topic in topics for _, count in judged_cells(tally, topic, apart))
    yield f"Of {cells:,} figures, each kind of noise and range of certainties by itself, {len(failing) or 'none'} fail."
    yield from ("", *failing) if failing else ()


def failures(tally: Tally, topic: Topic, apart: Sequence[str]) -> Iterator[str]:
    """Yield a line for each row and cell of a claim that says `FAILS`."""
    for where, count in judged_cells(tally, topic, apart):
        if verdict(topic, count) == "FAILS":
            low, high = count.interval
            yield (
                f"- FAILS: {topic.name} ({where}): {count.share:.1%} ({low:.1%} to {high:.1%}) of {count.said:,}, "
                f"promised {promise(topic, count)}"
            )


def judged_cells(tally: Tally, topic: Topic, apart: Sequence[str]) -> Iterator[tuple[str, Count]]:
    """Yield the count of a claim over all noise, under each kind, and for each range of stated certainties."""
    common = list(together(tally, topic, apart))
    yield "over all noise", tally.over(topic.name, common)
    for condition in tally.conditions(topic.name):
        yield condition, tally.over(topic.name, [condition])
    for name in (bin_of(low / 100) for low, _ in BINS):
        yield f"stated {name} %", tally.over(topic.name, common, name)


def verdict_table(tally: Tally, topics: Sequence[Topic], apart: Sequence[str]) -> Iterator[str]:
    """Yield a row for each claim, over all conditions."""
    rows = []
    for topic in topics:
        count = tally.over(topic.name, together(tally, topic, apart))
        made = f"{count.said:,}" + (f" of {count.chances:,}" if count.chances > count.said else "")
        low, high = count.interval
        true = f"{count.share:.1%} ({low:.1%} to {high:.1%})" if count.said else "-"
        rows.append((topic.name, made, promise(topic, count), true, verdict(topic, count)))
    yield from table(("claim", "made", "promised", "true, or told (95 % interval)", "verdict"), rows, words=(0, 4))


def condition_table(tally: Tally, topics: Sequence[Topic]) -> Iterator[str]:
    """Yield the share of each claim under each condition."""
    found = dict.fromkeys(condition for topic in topics for condition in tally.conditions(topic.name))
    known = sorted(found, key=lambda condition: [*KINDS, condition].index(condition))
    if len(known) > 1:
        cells = ([cell(topic, tally.over(topic.name, [condition])) for condition in known] for topic in topics)
        rows = ((topic.name, *own) for topic, own in zip(topics, cells, strict=True))
        yield from ("", *table(("claim", *known), rows))


def bin_table(tally: Tally, topics: Sequence[Topic], apart: Sequence[str]) -> Iterator[str]:
    """Yield how often each claim was true for each range of stated probabilities, and how often it was made."""
    if topics:
        bins, rows = [bin_of(low / 100) for low, _ in BINS], []
        for topic in topics:
            common = list(together(tally, topic, apart))
            counts = (tally.over(topic.name, common, name) for name in bins)
            rows.append(
                (topic.name, *(f"{cell(topic, count)} of {count.said:,}" if count.said else "-" for count in counts))
            )
        yield from ("", *table(("stated, in %", *bins), rows))


def together(tally: Tally, topic: Topic, apart: Sequence[str]) -> Iterator[str]:
    """Yield the conditions of a claim that are counted together: all that it has if it has no others."""
    known = list(tally.conditions(topic.name))
    yield from [condition for condition in known if condition not in apart] or known


def cell(topic: Topic, count: Count) -> str:
    if not count.said:
        return "-"
    judged, share = verdict(topic, count), f"{count.share:.1%}"
    if topic.rule == "power" and count.stated:
        return f"{share} ({promise(topic, count)})"
    return f"**{share}**" if judged == "FAILS" else f"{share} ?" if judged == "open" else share


def definitions(part: Part) -> Iterator[str]:
    """Yield when each claim is true."""
    yield from (f"- **{topic.name}** ({topic.rule}): {topic.definition}." for topic in PARTS[part])
