"""Money and energy: what levels cost and earn, options, and more GPUs in one engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from engine_probe.analysis.money.curve_costs import MONEY, Level, MoneyMetric
from engine_probe.evaluation.costs import Costed, Money, worth_showing
from engine_probe.report.document import Column, Section, Table, says, table
from engine_probe.report.sections.money_words import amount, verdicts
from engine_probe.report.sections.money_words import rate as per_minute

SHORT = {
    "cost_per_million_output_tokens": "cost of\n1M out",
    "cost_per_1000_requests": "cost of\n1k requests",
    "cost_per_hour": "cost\n/h",
    "revenue_per_hour": "revenue\n/h",
    "profit_per_hour": "profit\n/h",
    "joules_per_output_token": "J of an\nout token",
    "requests_in_flight": "in\nflight",
    "users": "\nusers",
}  # what a terminal has room for
WITH_INTERVAL = ("cost_per_million_output_tokens", "profit_per_hour", "joules_per_output_token")
COMMON = ("requests_in_flight",)  # worth a column only beside users


def shown_metrics(found: Money) -> list[MoneyMetric]:
    """Those that any level knows; revenue and profit only where something is sold."""
    levels = [level for curve in found.curves for level in curve.costs.levels]
    kept = [metric for metric in MONEY if any(level.mean(metric.name) is not None for level in levels)]
    names = {metric.name for metric in kept}
    sold = any(level.mean("revenue_per_hour") for level in levels)
    hidden = set() if sold else {"revenue_per_hour", "profit_per_hour"}
    hidden |= set() if "users" in names else set(COMMON)
    return [metric for metric in kept if metric.name not in hidden]


def cell(level: Level, metric: MoneyMetric) -> str:
    found = level.figures[metric.name]
    if found is None:
        return "-"
    spread = (
        f" ± {found.reach / abs(found.mean):.0%}" if found.reach and found.mean and metric.name in WITH_INTERVAL else ""
    )
    return amount(found.mean, "") + spread


def named_load(curve: Costed, level: Level) -> str:
    """A run by itself has none."""
    return f"{level.load:g} {curve.unit.removeprefix('requests ')}" if curve.unit else ""


def rows(found: Money) -> Iterator[tuple[Costed, Level]]:
    yield from ((curve, level) for curve in found.curves for level in curve.costs.levels)


def title(found: Money) -> str:
    if found.prices is None:
        return "Energy"
    source = f" ({found.prices.source})" if found.prices.source else ""
    return f"Money{f' in {found.currency}' if found.currency else ''}{source}"


OPTION_TITLES = ("option", "a month", "requests/min", "1,000 requests", "from what")


def option_rows(found: Money) -> Iterator[list[str]]:
    assert found.prices is not None
    for each in found.offered:
        rate = "-" if each.requests_per_minute is None else per_minute(each.requests_per_minute)
        full = each.per_1000_requests(found.prices.hours_per_month)
        yield [each.name, amount(each.per_month, ""), rate, amount(full, ""), each.how]


def money_section(found: Money) -> Section:
    """Return sentences and tables; always shown where prices were asked for."""
    if not worth_showing(found):
        return Section()
    metrics = shown_metrics(found)
    tables = [level_table(found, metrics)] if metrics else []
    tables += [cards_table(found)] if found.cards else []
    if found.offered:
        made = table(OPTION_TITLES, option_rows(found), words=(0, 4))
        tables.append(Table(made.columns, made.rows, "Options"))
    how = table(("figure", "from what"), ((metric.title, metric.formula) for metric in metrics), words=(0, 1))
    return Section(
        title(found),
        sentences=says(verdicts(found)),
        tables=tuple(tables),
        details=(Section("How these figures are made", tables=(how,), shown="page"),) if metrics else (),
        shown="verbose" if found.prices is None else "always",
    )


def level_table(found: Money, metrics: Sequence[MoneyMetric]) -> Table:
    """Return a row for each level of each curve."""
    several = any(curve.label for curve in found.curves)
    columns = [Column("load", words=True), *(metric_column(metric, found.currency) for metric in metrics)]
    made = (
        (named_load(curve, level), *(cell(level, each) for each in metrics), *[curve.label] * several)
        for curve, level in rows(found)
    )
    return table((*columns, *[Column("settings", words=True)] * several), made)


def metric_column(metric: MoneyMetric, currency: str) -> Column:
    unit = metric.unit.format(currency).strip("/ ")
    name = f"{metric.title}{f', {unit}' if unit else ''}"
    return Column(name, short=SHORT.get(metric.name, ""), room="page" if metric.name not in SHORT else "always")


def cards_table(found: Money) -> Table:
    titles = ["load", "cards", "throughput, times", "cost, times", "against as many small engines", "tokens cheaper"]
    made = (
        (
            f"{row.load:g} {pair.fewer.unit}",
            f"{pair.more.cards} against {pair.fewer.cards}",
            f"{row.speedup:.2f}",
            "-" if row.cost is None else f"{row.cost:.2f}",
            "-" if row.engines is None else f"{row.engines:.2f}",
            {None: "-", True: "yes", False: "no"}[row.pays],
        )
        for pair in found.cards
        for row in pair.rows
    )
    note = (
        "Small engines side by side share nothing: what they give together is derived from one of them at its share of "
        "the load, where that was measured."
    )
    told = table(titles, made, words=(0, 5))
    return Table(told.columns, told.rows, "More GPUs in one engine", note)
