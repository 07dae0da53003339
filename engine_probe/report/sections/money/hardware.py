"""Hardware options: the cheapest for a demand, over the demand, by published rules, and the cost of a token on each."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise

from engine_probe.analysis.money.hardware_options import (
    CheapestStep,
    CostRatio,
    HardwareChoice,
    JudgedRule,
    Offered,
    Rate,
)
from engine_probe.evaluation.money.compared_options import CheapestByDemand, ComparedHardware
from engine_probe.report.charts.model import Axis, Lines, Mark, Series, numbers
from engine_probe.report.document import Column, Document, Section, Table, says, table
from engine_probe.report.sections.money.amounts import amount, band
from engine_probe.text_format import capitalized, rate_words

TITLE = "Hardware options"
LOWER = "by the lower ends of rates"
MOST_STEPS = 3  # in sentences; the chart has all
BATCHES: dict[Rate, str] = {"requests/min": "1,000 requests", "output tokens/s": "a million output tokens"}
SIDE_BY_SIDE = "Engines side by side share nothing: their rates add up."


def hardware_section(found: ComparedHardware) -> Section:
    """Return the verdict for the demand, or by demand, and the options as a table for each unit of their rates."""
    units = list(dict.fromkeys(option.unit for option in found.offered))
    return Section(
        TITLE,
        sentences=says(hardware_verdicts(found)),
        charts=partial(option_charts, found),
        tables=tuple(option_table(found, unit) for unit in units),
        shown="always",
        asked=True,
    )


def hardware_verdicts(found: ComparedHardware) -> Iterator[str]:
    if found.choices:
        yield from choice_verdicts(found)
    else:
        for steps in found.steps:
            alike = [option for option in found.offered if (option.serves, option.unit) == (steps.serves, steps.unit)]
            yield from step_verdicts(steps, alike, found)
    for judged in found.rules:
        yield from rule_verdicts(judged, found)
    for ratio in found.ratios:
        yield from ratio_verdicts(ratio)
    for option in found.offered:
        others = [other for other in found.offered if other is not option and other.serves == option.serves]
        least = option.must_sustain(others)
        if option.rate is None and least is not None:
            most = f"{rate_words(least)} {option.unit}"
            yield f"{option.name} pays if one of it sustains more than {most} ({option.how})."


def choice_verdicts(found: ComparedHardware) -> Iterator[str]:
    """Yield the cheapest choice that surely holds the demand, and a cheaper one that may."""
    currency, asked = found.prices.currency, demand_words(found)
    best = next((choice for choice in found.choices if choice.count and choice.latency == "yes"), None)
    if best is None:
        yield f"{asked}: no option is known to hold this."
    else:
        month = amount(best.per_month, currency)
        yield f"{asked}: {counted(best.count, best)} is the cheapest that holds this, at {month} a month ({LOWER})."
    maybe = [
        (choice.hoped_per_month, choice)
        for choice in found.choices
        if choice.hoped_per_month is not None and choice.latency in ("yes", "perhaps")
    ]
    if not maybe:
        return
    least, cheap = min(maybe, key=lambda pair: pair[0])
    if best is None or least < (best.per_month or 0.0):
        ends = "rate and the lower end of its latency hold" if cheap.latency == "perhaps" else "rate holds"
        month = amount(least, currency)
        yield f"{counted(cheap.hoped, cheap)} would do for {month} a month if the upper end of its {ends}."


def demand_words(found: ComparedHardware) -> str:
    demand = found.demand
    within = "" if demand.latency_s is None else f", each answered within {demand.latency_s:g} s"
    return f"{demand.requests_per_minute:g} requests/min{within}"


def counted(count: int | None, choice: HardwareChoice) -> str:
    return choice.option.name if count == 1 else f"{count} × {choice.option.name}"


def step_verdicts(steps: CheapestByDemand, options: Sequence[Offered], found: ComparedHardware) -> Iterator[str]:
    """Yield what is the cheapest up to which demand, of the first few choices."""
    currency, latency = found.prices.currency, found.demand.latency_s
    in_time = "" if latency is None else f"{'answers' if steps.serves else 'Answers'} within {latency:g} s"
    about = ", ".join(filter(None, (steps.serves, in_time)))
    serves = f"{about}: " if about else ""
    names = {step.name for step in steps.sure}
    if len(names) == 1 and len({option.name for option in options}) > 1:
        yield f"{serves}{names.pop()} is the cheapest at every demand, several of them side by side if need be."
        return
    hoped = {step.words: step.up_to for step in steps.hoped}
    for step, after in list(pairwise(steps.sure))[:MOST_STEPS]:
        most = hoped.get(step.words, step.up_to)
        up_to = "up to" if serves else "Up to"
        perhaps = f", perhaps up to {rate_words(most)}" if most > step.up_to else ""
        yield (
            f"{serves}{up_to} {rate_words(step.up_to)} {steps.unit}{perhaps}, {step.words} is the cheapest "
            f"({amount(step.per_month, currency)} a month); beyond that, {after.words} "
            f"({amount(after.per_month, currency)})."
        )


def rule_verdicts(judged: JudgedRule, found: ComparedHardware) -> Iterator[str]:
    """Yield a rule, what it says of the demand, and whether its own option answers in time."""
    rule = judged.rule
    conditions = [
        f"above {rule.above_requests_per_minute:g} requests/min" if rule.above_requests_per_minute else "",
        f"from {rule.from_users:g} users on" if rule.from_users else "",
        f"for answers within {rule.below_latency_s:g} s" if rule.below_latency_s else "",
    ]
    least = rule.not_below_requests_per_minute
    stay = f"; not needed below {least:g} requests/min" if least else ""
    source = f" ({rule.source})" if rule.source else ""
    yield f"Rule{source}: {rule.to} {' or '.join(filter(None, conditions))}{stay}."
    if judged.verdict != "open":
        verdict = f"go over to {rule.to}" if judged.verdict == "upgrade" else f"{rule.to} is not needed"
        yield f"By this rule {verdict}: {' and '.join(judged.reasons)}."
    elif found.choices:
        yield "The rule is silent about this demand."
    option = next(option for option in found.offered if option.name == rule.to)
    limit = found.demand.latency_s or rule.below_latency_s
    if limit and option.latency_s and option.latency_s[0] >= limit:
        yield (
            f"The rule's own {rule.to} answers in {band(option.latency_s)} s, not within {limit:g} s: by these figures "
            "it does not reach what the rule promises."
        )
    if rule.doubt:
        yield f"A doubt about this rule: {rule.doubt}."


def ratio_verdicts(ratio: CostRatio) -> Iterator[str]:
    option, first = ratio.option, ratio.first
    if option.claimed_ratio is None and not option.serves:
        return  # the table has the costs
    serves = f"{option.serves}: " if option.serves else ""
    times = band((ratio.low, ratio.high))
    item = BATCHES[option.unit] if serves else capitalized(BATCHES[option.unit])
    words = f"{serves}{item} cost {times} times as much on {option.name} as on {first.name}"
    if option.claimed_ratio is None:
        yield f"{words}."
    elif ratio.follows:
        yield f"{words}, as published ({option.claimed_ratio:g} times)."
    else:
        yield f"{words}; published is {option.claimed_ratio:g} times, which does not follow from the prices and rates."


def option_table(found: ComparedHardware, unit: Rate) -> Table:
    """Return the options whose rates have this unit: bands as `30–50`, with whether each holds the demand."""
    options = [option for option in found.offered if option.unit == unit]
    item = BATCHES[unit].removeprefix("a ")
    asked, several = bool(found.choices) and unit == "requests/min", any(option.serves for option in options)
    columns = (
        Column("option", words=True),
        *[Column("serves", words=True)] * several,
        Column("cost per\nmonth"),
        Column(unit, short=unit.replace(" ", "\n").replace("/min", "\n/min")),
        *[Column("s per\nanswer")] * any(option.latency_s for option in options),
        Column(f"cost per {item}", short=f"cost per\n{item.replace('1,000', '1k').replace('million output', '1M')}"),
        *[Column("needed"), Column("in time", words=True)] * asked,
        Column("basis", words=True),
    )
    rows = [list(option_cells(found, option, several, columns, asked)) for option in options]
    return table(columns, rows, note=SIDE_BY_SIDE if asked else "")


def option_cells(
    found: ComparedHardware, option: Offered, several: bool, columns: tuple[Column, ...], asked: bool
) -> Iterator[str]:
    yield option.name
    if several:
        yield option.serves
    yield band(option.per_month)
    yield band(option.rate)
    if any(column.name == "s per answer" for column in columns):
        yield band(option.latency_s)
    yield band(option.cost_of_batch(found.prices.hours_per_month))
    if asked:
        choice = next(choice for choice in found.choices if choice.option is option)
        yield engines(choice)
        yield choice.latency if found.demand.latency_s is not None else "-"
    yield f"{option.how}; doubt: {option.doubt}" if option.doubt else option.how


def engines(choice: HardwareChoice) -> str:
    """Return how many of it a demand needs: for sure, and by the upper end of its rate."""
    ends: tuple[int | None, int | None] = (choice.hoped, choice.count)
    if ends[0] is None:
        return "-" if choice.option.rate is None else "too many"
    return f"{ends[0]}" if ends[0] == ends[1] else f"{ends[0]}–{ends[1] or 'too many'}"


def option_charts(found: ComparedHardware) -> Iterator[Lines]:
    """Yield the monthly cost of the cheapest choice over the demand, of options that serve the same."""
    for steps in found.steps:
        if len(steps.sure) > 1:
            yield options_chart(found, steps)


def options_chart(found: ComparedHardware, steps: CheapestByDemand) -> Lines:
    wanted = found.demand.requests_per_minute if steps.unit == "requests/min" else None
    edges = sorted({*(step.up_to for step in (*steps.sure, *steps.hoped)), *([wanted] if wanted else [])})
    # Each edge twice: where one choice ends and where the next begins.
    places = [(0.0, True), *((edge, after) for edge in edges for after in (False, True))][:-1]
    kinds = list(dict.fromkeys(step.name for step in steps.sure))
    ordered = sorted(steps.sure, key=lambda step: kinds.index(step.name))
    # A series for each step, since a line is drawn across the places where another option is the cheapest.
    series = [
        Series(
            step.name,
            [step.per_month if cheapest_at(steps.sure, *place) is step else None for place in places],
            colour=kinds.index(step.name),
            follows=number > 0 and step.name == ordered[number - 1].name,
        )
        for number, step in enumerate(ordered)
    ]
    if steps.hoped != steps.sure:
        hoped = [step.per_month if (step := cheapest_at(steps.hoped, *place)) else None for place in places]
        series.append(Series("by the upper ends of rates", hoped, style="dashed", colour=5))
    title = f"Options by demand{f' ({steps.serves})' if steps.serves else ''}"
    note = f"The cheapest by the lower ends of rates: {', '.join(step.words for step in steps.sure)}."
    marks = [Mark("demand", wanted)] if wanted and wanted <= edges[-1] else []
    axes = (Axis("demand", steps.unit), [Axis("a month", found.prices.currency)])
    return Lines(title, note, *axes, numbers([edge for edge, _ in places]), series, marks=marks)


def cheapest_at(steps: Sequence[CheapestStep], demand: float, after: bool) -> CheapestStep | None:
    """Return the cheapest at a demand, or just after it. None if no choice holds that."""
    held = (step for step in steps if demand < step.up_to or (demand == step.up_to and not after))
    return next(held, None)


def price_document(found: ComparedHardware, name: str) -> Document:
    source = found.prices.source or "no source given"
    options = replace(hardware_section(found), title="")  # the document's
    return Document(f"Hardware options in {found.prices.currency}", f"{name}: {source}", options)
