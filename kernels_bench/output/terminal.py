"""The report on a terminal: a table per device, its health, and a summary."""

import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from kernels_bench.judge.verdicts import NO_MARK
from kernels_bench.output.quantities import quantity, shown
from kernels_bench.results import (
    FAIL,
    INVALID,
    MEASURED,
    PASS,
    SKIPPED,
    WARN,
    Device,
    Figure,
    Reading,
    Report,
    Result,
    Verdict,
)

STYLES = {PASS: "green", WARN: "yellow", FAIL: "bold red", INVALID: "magenta", SKIPPED: "dim", MEASURED: "cyan"}
PIPE_WIDTH = 160
NAME_WIDTH = 18
GIB = 1 << 30
STOPPED_EARLY = f"[{STYLES[WARN]}]stopped by Ctrl-C before the end[/]: the tests above were finished"
AGAIN = "measure again when nothing else runs"
FEW_PAIRS = 6  # three GPUs in both directions
POWER_CAP = 4  # NVML's bit for a GPU at its power limit, which is not a fault


def show(report: Report) -> None:
    console = output_console()
    for part in report.devices:
        console.print(f"\n[bold]{shown(title(part.device))}[/]")
        console.print(_table(report.of(part.device.target)))
        if part.curve:
            console.print(f"  sustained: {shown(curve(part.curve))}")
        for finding in part.findings:
            console.print(f"  {coloured(finding.verdict)} {shown(finding.text)}")
    if between := report.between_devices:
        console.print("\n[bold]between the GPUs[/]")
        show_between(console, between, report.topology)
    console.print(f"\n{summary(report)}")


def show_between(console: Console, results: list[Result], paths: dict[str, str]) -> None:
    """Show the figures of pairs; many pairs as one square per figure, and in rows only what is not good."""
    transfers = [result for result in results if result.test == "p2p" and result.figure]
    if len({result.device for result in transfers}) <= FEW_PAIRS:
        console.print(_table(results, with_device=True))
        return
    if len(kinds := set(paths.values())) == 1:
        console.print(f"  the path of every pair: {shown(kinds.pop())}")
    elif kinds:
        console.print(_square("path", {pair: shown(path) for pair, path in paths.items()}))
    for name in dict.fromkeys(result.name for result in transfers):
        cells = {result.device: _value(result) for result in transfers if result.name == name}
        console.print(_square(shown(f"p2p {name}"), cells))
    rest = [result for result in results if result not in transfers or result.verdict not in (PASS, MEASURED)]
    if rest:
        console.print(_table(rest, with_device=True))


def output_console() -> Console:
    """Return a console of the terminal's width; a pipe gets a width at which nothing is cut."""
    piped = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return Console(width=PIPE_WIDTH if piped else None, highlight=False)


def summary(report: Report) -> str:
    counts = counted(result.verdict for result in report.results)
    checks = [result.figure.check.passed for result in report.results if result.figure and result.figure.check]
    right = f"{sum(checks)} of {len(checks)} results right"
    lines = [f"{counts or 'nothing measured'}; {right}; {report.seconds:.0f} s{' (quick)' * report.quick}"]
    if report.stopped:
        lines.append(STOPPED_EARLY)
    if report.measured_less:
        lines.append(f"[{STYLES[WARN]}]measured less[/], to end in time: {shown('; '.join(report.measured_less))}")
    if doubtful := [result for result in report.results if result.doubts]:
        figures = sum(1 for result in report.results if result.figure)
        lines.append(f"[{STYLES[WARN]}]doubtful[/]: {len(doubtful)} of {figures} figures; {AGAIN}")
    if any(NO_MARK in result.reasons for result in report.results):
        lines.append(f"{coloured(MEASURED)}: a valid figure, but {NO_MARK} for this hardware")
    return "\n".join(lines)


def counted(verdicts: Iterable[Verdict]) -> str:
    counts = Counter(verdicts)
    return ", ".join(f"{counts[verdict]} {coloured(verdict)}" for verdict in STYLES if counts[verdict])


def curve(readings: Sequence[Reading]) -> str:
    """Describe clock, power and temperature: the first and last value, and the range."""
    parts = []
    for name, values, size, unit in (
        ("clock", [reading.sm_mhz for reading in readings], 1, "MHz"),
        ("power", [reading.power_mw for reading in readings], 1000, "W"),
        ("temperature", [reading.temperature_c for reading in readings], 1, "°C"),
    ):
        measured = [value // size for value in values if value is not None]
        if measured:
            span = f"({min(measured)} to {max(measured)})"
            parts.append(f"{name} {measured[0]} → {measured[-1]} {unit} {span}")
    reasons = [reading.slowed_by for reading in readings if reading.slowed_by is not None]
    if at_limit := sum(1 for bits in reasons if bits & POWER_CAP):
        parts.append(f"at the power limit in {at_limit / len(reasons):.0%} of the samples")
    return ", ".join(parts) or "the GPU does not report clock, power and temperature"


def title(device: Device) -> str:
    facts = f"{device.name}, {device.memory_bytes / GIB:.1f} GiB, "
    unit = "multiprocessors" if device.is_cuda else "cores"
    return f"{device.target}: {facts}{device.cores} {unit}"


def plain_table() -> Table:
    return Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)


def _table(results: list[Result], with_device: bool = False) -> Table:
    table = plain_table()
    for title in (*(["GPUs"] if with_device else []), "test"):
        table.add_column(title, no_wrap=True)
    table.add_column("figure", overflow="fold", min_width=NAME_WIDTH)
    table.add_column("median", justify="right", no_wrap=True)
    table.add_column("spread", justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("because", overflow="fold")
    for result in results:
        cells = [shown(result.test), shown(shape_name(result)), *_numbers(result.figure), coloured(result.verdict)]
        table.add_row(*([shown(result.device)] if with_device else []), *cells, shown(because(result)))
    return table


def _square(title: str, cells: dict[str, str]) -> Table:
    """Make a table with a cell for each transfer, from the GPU of the row to the GPU of the column."""
    ends = list(dict.fromkeys(end for pair in cells for end in pair.split("→")))
    table = plain_table()
    table.add_column(title, no_wrap=True)
    for end in ends:
        table.add_column(shown(f"→{end}"), justify="right")
    for source in ends:
        table.add_row(shown(source), *(cells.get(f"{source}→{target}", "") for target in ends))
    return table


def _value(result: Result) -> str:
    value = _numbers(result.figure)[0]
    return value if result.verdict in (PASS, MEASURED) else f"[{STYLES[result.verdict]}]{value}[/]"


def shape_name(result: Result) -> str:
    """Return a result's name, with the shape of a product."""
    detail = result.figure.detail if result.figure else {}
    if not {"m", "n", "k"} <= detail.keys():
        return result.name
    m, n, k = detail["m"], detail["n"], detail["k"]
    return f"{result.name} {m}³" if m == n == k else f"{result.name} {m}×{n}×{k}"


def because(result: Result) -> str:
    """Join the reasons of a verdict, without NO_MARK, which the summary explains once."""
    return "; ".join(reason for reason in result.reasons if reason != NO_MARK)


def _numbers(figure: Figure | None) -> tuple[str, str]:
    if figure is None:
        return "", ""
    return quantity(figure.value, figure.unit), f"{figure.samples.spread:.1%}"


def coloured(verdict: Verdict) -> str:
    return f"[{STYLES[verdict]}]{verdict}[/]"
