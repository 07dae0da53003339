"""Money and energy: the costs and profits of levels, hardware options, and more GPUs in one engine."""

from collections.abc import Iterator, Sequence

from engine_probe.analysis.money.curve_costs import AtPrice, LevelCosts
from engine_probe.analysis.money.metrics import MONEY, MoneyMetric
from engine_probe.evaluation.money.costs import Costed, Money, worth_showing
from engine_probe.report.document import Column, Section, Table, says, table
from engine_probe.report.sections.money.amounts import amount
from engine_probe.report.sections.money.hardware import hardware_section
from engine_probe.report.sections.money.money_words import verdicts
from engine_probe.report.sections.sweep.levels import short_load
from engine_probe.text_format import percent
from engine_probe.workload.load import level_words

SHORT = {
    "cost_per_million_output_tokens": "cost per\n1M out",
    "cost_per_1000_requests": "cost per\n1k requests",
    "break_even_price": "break-even\nprice 1M out",
    "cost_per_hour": "cost\n/h",
    "revenue_per_hour": "revenue\n/h",
    "profit_per_hour": "profit\n/h",
    "joules_per_output_token": "J per\nout token",
    "requests_in_flight": "in\nflight",
    "users": "\nusers",
}  # column titles of a terminal
WITH_INTERVAL = ("cost_per_million_output_tokens", "break_even_price", "joules_per_output_token")


def shown_metrics(found: Money) -> list[MoneyMetric]:
    """Return the metrics that any level has; revenue and profit only if a selling price is given."""
    levels = [level for curve in found.curves for level in curve.costs.levels]
    metrics = [metric for metric in MONEY if any(level.mean(metric.name) is not None for level in levels)]
    sold = any(level.mean("revenue_per_hour") for level in levels)
    hidden = set() if sold else {"revenue_per_hour", "profit_per_hour"}
    if not found.prices or not (sold and found.prices.sold.million_input_tokens):
        hidden.add("break_even_price")  # the cost per million output tokens
    hidden |= set() if any(metric.name == "users" for metric in metrics) else {"requests_in_flight"}
    return [metric for metric in metrics if metric.name not in hidden]


def cell(level: LevelCosts, metric: MoneyMetric) -> str:
    figure = level.figures[metric.name]
    if figure is None:
        return "-"
    if figure.reach and metric.name == "profit_per_hour":  # may be near zero
        return f"{amount(figure.mean, '')} ± {amount(figure.reach, '')}"
    relative = metric.name in WITH_INTERVAL and figure.mean
    spread = f" ± {figure.reach / abs(figure.mean):.0%}" if relative and figure.reach else ""
    return amount(figure.mean, "") + spread


def load_column(curves: Sequence[Costed]) -> Column:
    """Return the column of the loads, titled by their unit if they have one in common."""
    units = {curve.unit for curve in curves}
    (unit,) = units if len(units) == 1 else ("",)
    return Column(unit, short=short_load(unit)) if unit else Column("load", words=True)


def load_cell(curve: Costed, level: LevelCosts, column: Column) -> str:
    """Return the load, with its unit unless the column's title has it. Empty for a single run."""
    if column.name == curve.unit:
        return f"{level.load:g}"
    return level_words(level.load, curve.unit) if curve.unit else ""


def title(found: Money) -> str:
    if found.prices is None:
        return "Energy"
    source = f" ({found.prices.source})" if found.prices.source else ""
    return f"Money{f' in {found.currency}' if found.currency else ''}{source}"


def money_section(found: Money) -> Section:
    """Return sentences and tables; always shown if prices were given."""
    if not worth_showing(found):
        return Section()
    metrics = shown_metrics(found)
    tables = [level_table(found, metrics)] if metrics else []
    tables += [*breakdowns(found), *price_tables(found)]
    tables += [cards_table(found)] if found.cards else []
    formulas = table(("figure", "formula"), ((metric.title, metric.formula) for metric in metrics), words=(0, 1))
    return Section(
        title(found),
        sentences=says(verdicts(found)),
        tables=tuple(tables),
        parts=(hardware_section(found.hardware),) if found.hardware else (),
        details=(Section("How these figures are computed", tables=(formulas,), shown="page"),) if metrics else (),
        shown="verbose" if found.prices is None else "always",
        asked=found.prices is not None,
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


def breakdowns(found: Money) -> Iterator[Table]:
    """Yield what makes up the cost where most is earned, or tokens are cheapest; nothing of a single item."""
    for curve in found.curves:
        costs = curve.costs
        best = costs.best("profit_per_hour") if costs.sells else None
        level = best or costs.best("cost_per_million_output_tokens", least=True) or costs.levels[0]
        items = [item for item in level.items if item.per_hour]
        whole = sum(item.per_hour for item in items)
        if len(items) < 2:
            continue
        rows = [(item.name, item.kind, amount(item.per_hour, ""), percent(item.per_hour / whole)) for item in items]
        place = f" at {level_words(level.load, curve.unit)}" if curve.unit else ""
        hour = f"{found.currency}/h".strip("/")
        title = named(f"Cost{place}", curve.label)
        yield table(("item", "kind", hour, "share"), rows, words=(0, 1), title=title)


def price_tables(found: Money) -> Iterator[Table]:
    """Yield what each curve earns at multiples of the list's prices."""
    for curve in found.curves:
        rows = [price_row(curve, price) for price in curve.costs.at_prices]
        if rows:
            title = named("What holds at which price", curve.label)
            titles = ("× prices", f"{found.currency} per 1M out".strip(), "profit at", "highest at", "profit/h there")
            note = "The load and its throughput as they are: what fewer or more customers would ask is not known."
            yield table(titles, rows, words=(2, 3), title=title, note=note)


def price_row(curve: Costed, at: AtPrice) -> tuple[str, ...]:
    loads = "no load measured" if not at.profitable else ", ".join(f"{load:g}" for load in at.profitable)
    if len(at.profitable) == len(curve.costs.levels):
        loads = "every load measured"
    best = level_words(at.best_load, curve.unit)
    return f"{at.factor:g}", amount(at.million_output_tokens, ""), loads, best, amount(at.best_profit, "")


def named(title: str, label: str) -> str:
    return f"{title} ({label})" if label else title


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
