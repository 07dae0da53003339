"""The HTML page of one machine or a fleet: the verdicts first, then the figures."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from kernels_bench.devices.specifications import specification_of
from kernels_bench.judge.fleet import FleetReport, Node
from kernels_bench.judge.verdicts import ORDER
from kernels_bench.output.fleet_terminal import fleet_problems
from kernels_bench.output.page.charts import charts, spread_box
from kernels_bench.output.quantities import quantity
from kernels_bench.output.summary_lines import Line, columns, lines, problems
from kernels_bench.output.terminal import AGAIN, shape_name
from kernels_bench.results import STOPPED, DeviceReport, Figure, Health, Report, Result, Verdict
from page_kit.html import Html, element, fold, grid, joined, says, tiles
from page_kit.page import asset, document, heading

UNITS = {"_bytes": (2.0**30, "GiB"), "_mw": (1e3, "W"), "_percent": (1.0, "%")}
GIB = 1 << 30


def page(report: Report | FleetReport) -> str:
    if isinstance(report, FleetReport):
        body = joined(fleet_body(report))
        title = f"{len(report.nodes)} machines"
    else:
        body = joined(report_body(report))
        title = ", ".join(dict.fromkeys(part.device.name for part in report.devices))
    started, command = report.started[:19].replace("T", " "), " ".join(report.command)
    below = f"kernels_bench, {started} UTC, {report.seconds:.0f} s: {command}"
    head, style = heading(title, below), asset("kernels_bench.output.page", "page.css")
    return document(f"kernels_bench: {title}", head, body, styles=[style])


def fleet_body(fleet: FleetReport) -> Iterator[Html]:
    yield verdict_tiles(Counter(fleet.verdicts))
    yield says((*problem_list(fleet_problems(fleet)), *stopped(fleet)))
    yield grid(("node", "devices", "verdicts"), (node_row(node) for node in fleet.nodes), text=(0, 1, 2))
    yield overview(fleet.nodes)
    for node in fleet.nodes:
        if node.report:
            yield fold(node.name, *report_body(node.report), printed=True)


def stopped(report: Report | FleetReport) -> Iterator[Html]:
    if report.stopped:
        yield judged(Verdict.WARN, f"{STOPPED} before the end: what is missing was not measured")


def reservations(report: Report) -> Iterator[Html]:
    """Say what was measured less, and which figures are doubtful."""
    if report.measured_less:
        yield judged(Verdict.WARN, f"measured less, to end in time: {'; '.join(report.measured_less)}")
    if doubtful := [f"{result.test} {result.name}" for result in report.results if result.doubts]:
        yield judged(Verdict.WARN, f"doubtful, {AGAIN}: {', '.join(doubtful)}")


def node_row(node: Node) -> list[str]:
    if node.report is None:
        return [node.name, "-", judged(Verdict.INVALID, str(node.failed))]
    models = Counter(part.device.name for part in node.report.devices)
    devices = ", ".join(f"{count} × {name}" for name, count in models.items())
    return [node.name, devices, tally(Counter(node.verdicts))]


def report_body(report: Report) -> Iterator[Html]:
    yield verdict_tiles(Counter(report.verdicts))
    yield says((*problem_list(problems(report)), *stopped(report), *reservations(report)))
    if len(report.devices) > 1:
        yield overview((Node("", "", report),))
    for part in report.devices:
        title = f"{part.device.target}: {part.device.name}"
        if len(report.devices) == 1:
            yield joined((element("h2", title), *device_body(report, part)))
        else:
            own = Counter(result.verdict for result in report.of(part.device.target))
            yield fold(joined((title, "   ", tally(own))), *device_body(report, part), printed=True)
    if between := report.between_devices:
        own = Counter(result.verdict for result in between)
        title = joined(("Between the GPUs   ", tally(own)))
        yield fold(title, verdict_table(report, between), printed=True)
    if figures := list(charts(report)):
        yield joined((element("h2", "Charts"), *figures))
    yield health_table(report.devices)
    yield element("h2", "Settings")
    yield grid(("what", "value"), [[name, value] for name, value in settings(report)], text=(0, 1))


def overview(nodes: Sequence[Node]) -> Html:
    """Make a table with a row for each device, in which bad figures have a badge."""
    all_lines = list(lines(nodes))
    has_nodes = any(line.node for line in all_lines)
    titles = (*(("node",) if has_nodes else ()), "device", "model", "", *columns(all_lines))
    rows = []
    for line in all_lines:
        node = [line.node] if has_nodes else []
        cells = [marked(line, title) for title in columns(all_lines)]
        rows.append([*node, line.device, line.model, badge(line.verdict), *cells])
    return grid(titles, rows, text=tuple(range(3 + has_nodes)))


def marked(line: Line, title: str) -> str:
    value = line.value(title)
    return judged(line.figures[title].verdict, value) if line.is_bad(title) else value


def problem_list(problems: Iterable[tuple[Verdict, str, str]]) -> Iterator[Html]:
    return (judged(verdict, f"{where}: {text}") for verdict, where, text in problems)


def judged(verdict: Verdict, text: str) -> Html:
    return joined((badge(verdict), f" {text}"))


def device_body(report: Report, part: DeviceReport) -> Iterator[Html]:
    yield says(judged(finding.verdict, finding.text) for finding in part.findings)
    yield verdict_table(report, report.of(part.device.target))


def verdict_table(report: Report, results: Sequence[Result]) -> Html:
    models = report.models
    has_pairs = any(result.device not in models for result in results)
    titles = (*(("GPUs",) if has_pairs else ()), "test", "figure", "median", "spread, ± 5%", "of the maker's", "")
    rows = []
    for result in results:
        cells = [result.test, shape_name(result), *numbers(result.figure, models.get(result.device, ""))]
        verdict = judged(result.verdict, "; ".join(result.reasons))
        rows.append([*([result.device] if has_pairs else []), *cells, verdict])
    return grid(titles, rows, text=(*range(2 + has_pairs), len(titles) - 1))


def numbers(figure: Figure | None, model: str) -> list[str]:
    if figure is None:
        return ["", "", ""]
    row = specification_of(model)
    ceiling = row.ceiling(figure.test, figure.name) if row else None
    return [quantity(figure.value, figure.unit), spread(figure), f"{figure.value / ceiling:.0%}" if ceiling else ""]


def spread(figure: Figure) -> Html:
    """Draw the spread of all samples of all rounds."""
    times = np.concatenate([np.asarray(round_times) for round_times in figure.samples.rounds_ns])
    shares = np.percentile(times, (5, 25, 75, 95)) / np.median(times) - 1
    title = f"{len(times)} samples in {len(figure.samples.rounds_ns)} rounds; 5%, quartiles and 95% of them: "
    return spread_box(shares.tolist(), title + ", ".join(f"{share:+.1%}" for share in shares))


def health_table(parts: Sequence[DeviceReport]) -> Html:
    """Make a table of what each device reports about itself, before and after the run if that differs."""
    reports = [health for part in parts for health in (part.health_before, part.health_after)]
    names = [name for name in Health.__struct_fields__ if any(getattr(health, name) is not None for health in reports)]
    if not names:
        return Html()
    rows = [[name.replace("_", " "), *(before_and_after(name, part) for part in parts)] for name in names]
    titles = ("", *(part.device.target for part in parts))
    return joined((element("h2", "Health reported by the GPUs"), grid(titles, rows, text=tuple(range(len(titles))))))


def before_and_after(name: str, part: DeviceReport) -> str:
    before, after = (health_value(name, getattr(health, name)) for health in (part.health_before, part.health_after))
    return before if before == after else f"{before} → {after}"


def health_value(name: str, value: object) -> str:
    if value is None:
        return "–"
    for ending, (size, unit) in UNITS.items():
        if name.endswith(ending) and isinstance(value, int):
            return f"{value / size:,.3g} {unit}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)


def settings(report: Report) -> Iterator[tuple[str, str]]:
    yield from report.versions.items()
    yield "effort", "quick" if report.quick else "full"
    yield "tolerance", f"{report.tolerance:.0%}"
    for part in report.devices:
        device = part.device
        yield device.target, f"{device.name}, {device.memory_bytes / GIB:.1f} GiB, {device.identity}"


def verdict_tiles(counts: Counter[Verdict]) -> Html:
    return tiles((badge(verdict), str(counts[verdict])) for verdict in reversed(ORDER) if counts[verdict])


def tally(counts: Counter[Verdict]) -> Html:
    parts: list[str] = []
    for verdict in reversed(ORDER):
        if counts[verdict]:
            parts += [badge(verdict), f" {counts[verdict]}  "]
    return joined(parts)


def badge(verdict: Verdict) -> Html:
    return element("span", str(verdict), class_=f"badge {verdict.lower()}")
