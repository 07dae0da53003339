"""Money and energy as tables, in the terminal and on the page."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from engine_probe.analysis.money.curve_costs import MONEY, Level, MoneyMetric
from engine_probe.evaluation.costs import Costed, Money, worth_showing
from engine_probe.report.renderers.html_elements import Html, element, grid, joined, says
from engine_probe.report.sections.money_words import amount, verdicts
from engine_probe.report.sections.money_words import rate as per_minute
from engine_probe.text_format import plain

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
    levels = [level for curve in found.curves for level in curve.accounts.levels]
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


def money_view(found: Money) -> Iterator[RenderableType]:
    """For the terminal."""
    if not worth_showing(found):
        return
    yield Text(f"\n{plain(title(found))}", "bold")
    metrics, single = [each for each in shown_metrics(found) if each.name in SHORT], len(found.curves) == 1
    if metrics:
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
        table.add_column("load", no_wrap=True)
        for metric in metrics:
            table.add_column(SHORT[metric.name], justify="right", no_wrap=True)
        for curve, level in rows(found):
            name = f"{level.load:g}" if single or not curve.label else f"{level.load:g}, {curve.label}"
            table.add_row(plain(name) if curve.unit else "", *(cell(level, metric) for metric in metrics))
        yield table
    for said in verdicts(found):
        yield Text(plain(said))
    if found.offered:
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
        for name in OPTION_TITLES:
            table.add_column(name, justify="left" if name in ("option", "from what") else "right")
        for row in option_rows(found):
            table.add_row(*map(plain, row))
        yield table


def named_load(curve: Costed, level: Level) -> str:
    """A run by itself has none."""
    return f"{level.load:g} {curve.unit.removeprefix('requests ')}" if curve.unit else ""


def rows(found: Money) -> Iterator[tuple[Costed, Level]]:
    yield from ((curve, level) for curve in found.curves for level in curve.accounts.levels)


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


def money_section(found: Money) -> Html:
    """Sentences and tables for the page."""
    if not worth_showing(found):
        return Html()
    parts = [element("h2", title(found)), says(verdicts(found))]
    if metrics := shown_metrics(found):
        units = [metric.unit.format(found.currency).strip("/ ") for metric in metrics]
        titles = [f"{metric.title}{f', {unit}' if unit else ''}" for metric, unit in zip(metrics, units, strict=True)]
        table = (
            [
                named_load(curve, level),
                *(cell(level, each) for each in metrics),
                curve.label,
            ]
            for curve, level in rows(found)
        )
        several = any(curve.label for curve in found.curves)
        names = ["load", *titles, "settings"] if several else ["load", *titles]
        parts.append(grid(names, (row[: len(names)] for row in table), text=(0, len(titles) + 1)))
        formulas = ([metric.title, metric.formula] for metric in metrics)
        how = grid(["figure", "from what"], formulas, text=(0, 1))
        parts.append(element("details", element("summary", "How these figures are made"), how))
    if found.cards:
        parts.append(cards_table(found))
    if found.offered:
        parts += [element("h3", "Options"), grid(OPTION_TITLES, option_rows(found), text=(0, 4))]
    return joined(parts)


def cards_table(found: Money) -> Html:
    titles = ["load", "cards", "throughput, times", "cost, times", "against as many small engines", "tokens cheaper"]
    made = (
        [
            f"{row.load:g} {pair.fewer.unit}",
            f"{pair.more.cards} against {pair.fewer.cards}",
            f"{row.speedup:.2f}",
            "-" if row.cost is None else f"{row.cost:.2f}",
            "-" if row.engines is None else f"{row.engines:.2f}",
            {None: "-", True: "yes", False: "no"}[row.pays],
        ]
        for pair in found.cards
        for row in pair.rows
    )
    note = (
        "Small engines side by side share nothing: what they give together is derived from one of them at its share of "
        "the load, where that was measured."
    )
    return joined((element("h3", "More cards in one engine"), grid(titles, made, text=(0, 5)), says([note])))
