"""Reports on a terminal, with their exit codes: of one machine, and of many devices in one table, then the problems."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from rich.console import Console
from rich.table import Table

from kernels_bench.judge.fleet import FleetReport, Node, exit_code
from kernels_bench.output import terminal
from kernels_bench.output.quantities import shown
from kernels_bench.output.summary_lines import BAD, Line, columns, lines, problems
from kernels_bench.results import INVALID, WARN, Report, Verdict


def show_fleet(fleet: FleetReport) -> None:
    console = terminal.output_console()
    console.print(table(fleet.nodes))
    show_problems(console, fleet_problems(fleet))
    console.print(f"\n{summary(fleet)}")


def show_all_devices(report: Report) -> None:
    """Show the devices of one machine in a table that fits on one screen."""
    console = terminal.output_console()
    console.print("\n[bold]all GPUs[/]")
    console.print(table((Node("", "", report),)))
    show_problems(console, problems(report))


def table(nodes: Sequence[Node]) -> Table:
    rows = list(lines(nodes))
    table = terminal.plain_table()
    node_column = ("node",) if any(line.node for line in rows) else ()
    for title in (*node_column, "device", "model", "verdict"):
        table.add_column(title, no_wrap=title != "model")
    for title in columns(rows):
        table.add_column(title, justify="right", no_wrap=True)
    for line in rows:
        cells = [cell(line, title) for title in columns(rows)]
        name = (shown(line.node),) if node_column else ()
        table.add_row(*name, shown(line.device), shown(line.model), terminal.coloured(line.verdict), *cells)
    return table


def cell(line: Line, title: str) -> str:
    value = line.value(title)
    return f"[{terminal.STYLES[line.figures[title].verdict]}]{value}[/]" if line.is_bad(title) else value


def show_problems(console: Console, problems: Iterable[tuple[Verdict, str, str]]) -> None:
    for verdict, where, text in problems:
        console.print(f"  {terminal.coloured(verdict)} {shown(where)}: {shown(text)}")


def fleet_problems(fleet: FleetReport) -> Iterator[tuple[Verdict, str, str]]:
    """Yield verdict, place and text of all problems, the worst first."""
    all_problems: list[tuple[Verdict, str, str]] = [
        (finding.verdict, "fleet", finding.text) for finding in fleet.findings
    ]
    for node in fleet.nodes:
        if node.report is None:
            all_problems.append((INVALID, node.name, node.failed))
        else:
            all_problems += [(verdict, f"{node.name}/{where}", text) for verdict, where, text in problems(node.report)]
            if measured_less := node.report.measured_less:
                all_problems.append((WARN, node.name, f"measured less, to end in time: {'; '.join(measured_less)}"))
    for verdict in BAD:
        yield from (problem for problem in all_problems if problem[0] == verdict)


def summary(fleet: FleetReport) -> str:
    devices = sum(len(node.report.devices) for node in fleet.nodes if node.report)
    counts = terminal.counted(fleet.verdicts)
    failed = sum(1 for node in fleet.nodes if node.report is None)
    nodes = f"{len(fleet.nodes)} nodes" + (f", {failed} without a report" if failed else "")
    stopped = f"\n{terminal.STOPPED_EARLY}" if fleet.stopped else ""
    return f"{nodes}, {devices} devices: {counts}; {fleet.seconds:.0f} s{stopped}"


def show_any(report: Report | FleetReport, write_files: Callable[[], None] = lambda: None) -> int:
    """Write the files, show the report even if that fails, and return the exit code."""
    try:
        write_files()
    finally:
        if isinstance(report, FleetReport):
            show_fleet(report)
        else:
            terminal.show(report)
            if len(report.devices) > 1:
                show_all_devices(report)
    return exit_code(report)
