"""Money and energy: the costs and profits of levels, hardware options, and more GPUs in one engine."""

from collections.abc import Iterator, Sequence

from engine_probe.analysis.money.curve_costs import MONEY, Level, MoneyMetric
from engine_probe.evaluation.money.costs import Costed, Money, worth_showing
from engine_probe.report.document import Column, Section, Table, says, table
from engine_probe.report.sections.money.words import amount, verdicts
from engine_probe.report.sections.money.words import rate as per_minute
from engine_probe.report.sections.sweep.levels import short_load
from engine_probe.workload.load import level_words

SHORT = {
    "cost_per_million_output_tokens": "cost per\n1M out",
    "cost_per_1000_requests": "cost per\n1k requests",
    "cost_per_hour": "cost\n/h",
    "revenue_per_hour": "revenue\n/h",
    "profit_per_hour": "profit\n/h",
    "joules_per_output_token": "J per\nout token",
    "requests_in_flight": "in\nflight",
    "users": "\nusers",
}  # column titles of a terminal
WITH_INTERVAL = ("cost_per_million_output_tokens", "profit_per_hour", "joules_per_output_token")


def shown_metrics(found: Money) -> list[MoneyMetric]:
    """Return the metrics that any level has; revenue and profit only if a selling price is given."""
    levels = [level for curve in found.curves for level in curve.costs.levels]
    metrics = [metric for metric in MONEY if any(level.mean(metric.name) is not None for level in levels)]
    sold = any(level.mean("revenue_per_hour") for level in levels)
    hidden = set() if sold else {"revenue_per_hour", "profit_per_hour"}
    hidden |= set() if any(metric.name == "users" for metric in metrics) else {"requests_in_flight"}
    return [metric for metric in metrics if metric.name not in hidden]


def cell(level: Level, metric: MoneyMetric) -> str:
    figure = level.figures[metric.name]
    if figure is None:
        return "-"
    relative = metric.name in WITH_INTERVAL and figure.mean
    spread = f" ± {figure.reach / abs(figure.mean):.0%}" if relative and figure.reach else ""
    return amount(figure.mean, "") + spread


def load_column(curves: Sequence[Costed]) -> Column:
    """Return the column of the loads, titled by their unit if they have one in common."""
    units = {curve.unit for curve in curves}
    (unit,) = units if len(units) == 1 else ("",)
    return Column(unit, short=short_load(unit)) if unit else Column("load", words=True)


def load_cell(curve: Costed, level: Level, column: Column) -> str:
    """Return the load, with its unit unless the column's title has it. Empty for a single run."""
    if column.title == curve.unit:
        return f"{level.load:g}"
    return level_words(level.load, curve.unit) if curve.unit else ""


def title(found: Money) -> str:
    if found.prices is None:
        return "Energy"
    source = f" ({found.prices.source})" if found.prices.source else ""
    return f"Money{f' in {found.currency}' if found.currency else ''}{source}"


OPTIONS = (
    Column("option", words=True),
    Column("cost per month", short="cost per\nmonth"),
    Column("requests/min", short="requests\n/min"),
    Column("cost per 1,000 requests", short="cost per\n1k requests"),
    Column("basis", words=True),
)


def option_rows(found: Money) -> Iterator[list[str]]:
    assert found.prices is not None
    for option in found.offered:
        rate = "-" if option.requests_per_minute is None else per_minute(option.requests_per_minute)
        cost = option.per_1000_requests(found.prices.hours_per_month)
        yield [option.name, amount(option.per_month, ""), rate, amount(cost, ""), option.how]


def money_section(found: Money) -> Section:
    """Return sentences and tables; always shown if prices were given."""
    if not worth_showing(found):
        return Section()
    metrics = shown_metrics(found)
    tables = [level_table(found, metrics)] if metrics else []
    tables += [cards_table(found)] if found.cards else []
    if found.offered:
        tables.append(table(OPTIONS, option_rows(found), title="Options"))
    formulas = table(("figure", "formula"), ((metric.title, metric.formula) for metric in metrics), words=(0, 1))
    return Section(
        title(found),
        sentences=says(verdicts(found)),
        tables=tuple(tables),
        details=(Section("How these figures are computed", tables=(formulas,), shown="page"),) if metrics else (),
        shown="verbose" if found.prices is None else "always",
    )


def level_table(found: Money, metrics: Sequence[MoneyMetric]) -> Table:
    """Return a row for each level of each curve."""
    several = any(curve.label for curve in found.curves)
    load = load_column(found.curves)
    columns = [load, *(metric_column(metric, found.currency) for metric in metrics)]
    rows = (
        (load_cell(curve, level, load), *(cell(level, metric) for metric in metrics), *[curve.label] * several)
        for curve in found.curves
        for level in curve.costs.levels
    )
    return table((*columns, *[Column("settings", words=True)] * several), rows)


def metric_column(metric: MoneyMetric, currency: str) -> Column:
    unit = metric.unit.format(currency).strip("/ ")
    name = f"{metric.title}{f', {unit}' if unit else ''}"
    return Column(name, short=SHORT.get(metric.name, ""), room="page" if metric.name not in SHORT else "always")


def cards_table(found: Money) -> Table:
    titles = ["load", "GPUs", "× throughput", "× cost", "× throughput of as many small engines", "cheaper tokens"]
    rows = (
        (
            level_words(row.load, pair.fewer.unit),
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
        "Small engines side by side share nothing: their throughput together is derived from one of them at its share "
        "of the load, where that was measured."
    )
    return table(titles, rows, words=(0, 5), title="More GPUs in one engine", note=note)
