"""`engine_probe prices`: price lists, and the hardware options in one for a demand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine_probe.commands.options import reading_options
from engine_probe.commands.options.document_output import page_file, show_document
from engine_probe.commands.options.engine_options import GroupedCommand, under
from engine_probe.errors import InputError
from engine_probe.files.new_file import check_free, fresh_file
from kernels_bench.options import FILE, Number

if TYPE_CHECKING:
    from engine_probe.analysis.money.hardware_options import Demand
    from engine_probe.analysis.money.prices import Prices

what, demand_options = under("Price list"), under("Demand")
POSITIVE = Number(min=0, min_open=True)


@click.command("prices", cls=GroupedCommand, epilog="Example: engine_probe prices l4_or_l40s --requests-per-minute 25")
@click.argument("name", required=False, metavar="[FILE|NAME]")
@what("--list", "list_only", is_flag=True, help="List the shipped price lists and where their figures are from.")
@what("--init", "new_file", metavar="FILE", type=FILE, help="Write a commented price list to start from.")
@demand_options(
    "--requests-per-minute", "per_minute", type=POSITIVE, help="Requests that must be answered in a minute."
)
@demand_options("--users", type=POSITIVE, help="Concurrent users; the list must say how often one asks.")
@demand_options("--latency", type=POSITIVE, help="Seconds within which each must be answered.")
@reading_options.html
def command(
    name: str | None,
    list_only: bool,
    new_file: Path | None,
    per_minute: float | None,
    users: float | None,
    latency: float | None,
    page: Path | None,
) -> None:
    """Compare the hardware options of a price list: the cheapest that holds a demand, and the cost of a token.

    NAME is a shipped list or a TOML file (its keys are in docs/price_lists.md). Rates are published ones, as the list
    says, or measured in the recordings that it names. `report --money` holds a run or a sweep against a list.
    """
    check_free(page)
    if new_file is not None:
        write_starter(new_file, name)
    elif list_only:
        list_shipped()
    elif name is None:
        raise InputError("no price list is named: give a file or a name; --list shows those shipped, --init writes one")
    else:
        show_options(name, per_minute, users, latency, page)


def write_starter(path: Path, name: str | None) -> None:
    from engine_probe.evaluation.money.price_list import STARTER

    if name is not None:
        raise InputError(f"--init {path} writes a new price list: leave {name} out")
    with fresh_file(path) as file:
        file.write(STARTER.read_bytes())
    click.echo(f"wrote {path}: engine_probe report FOLDER --money {path} holds a recording against it", err=True)


def list_shipped() -> None:
    from engine_probe.evaluation.money.price_list import read_prices, shipped_names

    names = shipped_names()
    for name in names:
        click.echo(f"{name.ljust(max(map(len, names)))}  {read_prices(name).source}")


def show_options(
    name: str, per_minute: float | None, users: float | None, latency: float | None, page: Path | None
) -> None:
    from engine_probe.analysis.run.slo import Slo
    from engine_probe.evaluation.money.compared_options import hardware
    from engine_probe.evaluation.money.price_list import find_prices, read_prices
    from engine_probe.report.sections.money.hardware import price_document

    prices = read_prices(name)
    if not prices.options:
        raise InputError(f"{find_prices(name)} has no options: add [[options]] to compare hardware")
    slo = None if latency is None else Slo(e2el_ms=1000 * latency)  # of what the list measured
    found = hardware(prices, slo, find_prices(name).parent, demand_of(prices, per_minute, users, latency))
    document = price_document(found, name)
    show_document(document, page_file(page, lambda: document), more="--html FILE draws the cost by demand.")


def demand_of(prices: Prices, per_minute: float | None, users: float | None, latency: float | None) -> Demand:
    """Return what is asked of the hardware; users become a rate if the list says how often one asks."""
    from engine_probe.analysis.money.hardware_options import Demand

    every = prices.users.request_every_s if prices.users else None
    if per_minute is None and users is not None and every is not None:
        per_minute = 60 * users / every
    if per_minute is None and users is None and latency is not None and not prices.upgrade:
        raise InputError(f"--latency {latency:g} needs a rate to compare options: give --requests-per-minute")
    return Demand(per_minute, users, latency)
