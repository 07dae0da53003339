"""Many devices on a terminal: one table, then what needs a look. Of a fleet, and of one box with several."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from kernels_bench.judge.fleet import FleetReport, Node
from kernels_bench.output.summary_lines import BAD, Line, columns, lines, worth_a_look
from kernels_bench.output.terminal import STOPPED_EARLY, STYLES, output_console
from kernels_bench.output.words import shown
from kernels_bench.results import INVALID, WARN, Report, Verdict


def show_fleet(fleet: FleetReport) -> None:
    console = output_console()
    console.print(table(fleet.nodes))
    show_worries(console, fleet_worries(fleet))
    console.print(f"\n{summary(fleet)}")


def show_box(report: Report) -> None:
    """After its many tables: what fits on one screen."""
    console = output_console()
    console.print("\n[bold]all cards[/]")
    console.print(table((Node("", "", report),)))
    show_worries(console, worth_a_look(report))


def table(nodes: Sequence[Node]) -> Table:
    found = list(lines(nodes))
    made = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    named = ("node",) if any(line.node for line in found) else ()
    for title in (*named, "device", "model", "verdict"):
        made.add_column(title, no_wrap=title != "model")
    for title in columns(found):
        made.add_column(title, justify="right", no_wrap=True)
    for line in found:
        cells = [cell(line, title) for title in columns(found)]
        name = (shown(line.node),) if named else ()
        made.add_row(*name, shown(line.device), shown(line.model), coloured(line.verdict), *cells)
    return made


def cell(line: Line, title: str) -> str:
    told = line.told(title)
    return f"[{STYLES[line.figures[title].verdict]}]{told}[/]" if line.is_bad(title) else told


def show_worries(console: Console, worries: Iterable[tuple[Verdict, str, str]]) -> None:
    for verdict, where, text in worries:
        console.print(f"  {coloured(verdict)} {shown(where)}: {shown(text)}")


def fleet_worries(fleet: FleetReport) -> Iterator[tuple[Verdict, str, str]]:
    """The worst first."""
    found: list[tuple[Verdict, str, str]] = [(finding.verdict, "fleet", finding.text) for finding in fleet.findings]
    for node in fleet.nodes:
        if node.report is None:
            found.append((INVALID, node.name, node.failed))
        else:
            found += [(verdict, f"{node.name}/{where}", text) for verdict, where, text in worth_a_look(node.report)]
            if cut := node.report.measured_less:
                found.append((WARN, node.name, f"measured less, to end in time: {'; '.join(cut)}"))
    for verdict in BAD:
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
