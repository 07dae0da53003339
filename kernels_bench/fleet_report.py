"""The fleet on a terminal: one table, then what needs a look."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from rich import box
from rich.markup import escape
from rich.table import Table

from kernels_bench.fleet_results import FleetReport, Node, worst
from kernels_bench.report import STOPPED_EARLY, STYLES, because, output_console
from kernels_bench.results import FAIL, INVALID, WARN, Device, Report, Result, Verdict
from kernels_bench.words import quantity

# title -> the test, and how the figure's name begins
HEADLINES = {
    "copy": ("memory", "copy"),
    "BF16 product": ("gemm", "bf16 square"),
    "best shape": ("gemm", "bf16 best shape"),
    "sustained": ("sustained", ""),
    "to card": ("pcie", "to card, pinned"),
    "card to card": ("p2p", "one way"),
    "all-reduce": ("allreduce", "8192 tokens"),
}


def show_fleet(fleet: FleetReport) -> None:
    console = output_console()
    columns = [title for title in HEADLINES if any(cell for node in fleet.nodes for cell in cells(node, title))]
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for title in ("node", "device", "model", "verdict"):
        table.add_column(title, no_wrap=title != "model")
    for title in columns:
        table.add_column(title, justify="right", no_wrap=True)
    for node in fleet.nodes:
        for number, (device, model, verdict) in enumerate(rows(node)):
            found = [cells(node, title)[number] for title in columns]
            table.add_row(escape(node.name), device, escape(model), coloured(verdict), *found)
    console.print(table)
    for verdict, where, text in worth_a_look(fleet):
        console.print(f"  {coloured(verdict)} {escape(where)}: {escape(text)}")
    console.print(f"\n{summary(fleet)}")


def rows(node: Node) -> Iterator[tuple[str, str, Verdict]]:
    """A device each, and what is between them; or that there is nothing."""
    if node.report is None:
        yield "-", "", INVALID
        return
    for part in node.report.devices:
        own = [result.verdict for result in node.report.results if result.device == part.device.target]
        health = [finding.verdict for finding in part.findings]
        yield part.device.target, part.device.name, worst([*own, *health]) or INVALID
    if between := between_cards(node.report):
        yield "between", "", worst([result.verdict for result in between]) or INVALID


def between_cards(report: Report) -> list[Result]:
    targets = {part.device.target for part in report.devices}
    return [result for result in report.results if result.device not in targets]


def cells(node: Node, title: str) -> list[str]:
    """Of each row of the node; of several pairs the slowest."""
    if node.report is None:
        return [""]
    places = [[result for result in node.report.results if on(result, part.device)] for part in node.report.devices]
    if between := between_cards(node.report):
        places.append(between)
    test, begins = HEADLINES[title]
    found = []
    for results in places:
        figures = [each.figure for each in results if each.figure and each.test == test]
        slowest = min((each for each in figures if each.name.startswith(begins)), key=lambda it: it.value, default=None)
        found.append(quantity(slowest.value, slowest.unit) if slowest else "")
    return found


def on(result: Result, device: Device) -> bool:
    return result.device == device.target


def worth_a_look(fleet: FleetReport) -> Iterator[tuple[Verdict, str, str]]:
    """The worst first."""
    found: list[tuple[Verdict, str, str]] = [(finding.verdict, "fleet", finding.text) for finding in fleet.findings]
    for node in fleet.nodes:
        if node.report is None:
            found.append((INVALID, node.name, node.failed))
            continue
        for part in node.report.devices:
            found += [(each.verdict, f"{node.name}/{part.device.target}", each.text) for each in part.findings]
        for result in node.report.results:
            where = f"{node.name}/{result.device} {result.test} {result.name}"
            found.append((result.verdict, where, because(result)))
    for verdict in (FAIL, INVALID, WARN):
        yield from (each for each in found if each[0] == verdict)


def summary(fleet: FleetReport) -> str:
    devices = sum(len(node.report.devices) for node in fleet.nodes if node.report)
    counted = Counter(verdict for node in fleet.nodes for verdict in node.verdicts)
    parts = [f"{counted[verdict]} {coloured(verdict)}" for verdict in STYLES if counted[verdict]]
    failed = sum(1 for node in fleet.nodes if node.report is None)
    nodes = f"{len(fleet.nodes)} nodes" + (f", {failed} without a report" if failed else "")
    stopped = f"\n{STOPPED_EARLY}" if fleet.stopped else ""
    return f"{nodes}, {devices} devices: {', '.join(parts)}; {fleet.seconds:.0f} s{stopped}"


def coloured(verdict: Verdict) -> str:
    return f"[{STYLES[verdict]}]{verdict}[/]"
