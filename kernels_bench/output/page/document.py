"""The page of one machine, and of a fleet: verdicts first, then what they rest on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from kernels_bench.devices.specifications import specification_of
from kernels_bench.judge.fleet import FleetReport, Node
from kernels_bench.judge.verdicts import ORDER
from kernels_bench.output.fleet_terminal import fleet_worries
from kernels_bench.output.page.charts import charts
from kernels_bench.output.page.pictures import box
from kernels_bench.output.summary_lines import Line, columns, lines, worth_a_look
from kernels_bench.output.terminal import AGAIN, all_verdicts, shape_name
from kernels_bench.output.words import quantity
from kernels_bench.results import STOPPED, DeviceReport, Figure, Health, Report, Result, Verdict
from page_kit.html import Html, element, fold, grid, joined, says, tiles
from page_kit.page import asset, document, heading

UNITS = {"_bytes": (2.0**30, "GiB"), "_mw": (1e3, "W"), "_percent": (1.0, "%")}
GIB = 1 << 30


def page(done: Report | FleetReport) -> str:
    if isinstance(done, FleetReport):
        body = joined(fleet_body(done))
        title = f"{len(done.nodes)} machines"
    else:
        body = joined(report_body(done))
        title = ", ".join(dict.fromkeys(part.device.name for part in done.devices))
    below = f"kernels_bench, {done.started[:19].replace('T', ' ')} UTC, {done.seconds:.0f} s: {' '.join(done.command)}"
    head, style = heading(title, below), asset("kernels_bench.output.page", "page.css")
    return document(f"kernels_bench: {title}", head, body, styles=[style])


def fleet_body(fleet: FleetReport) -> Iterator[Html]:
    yield verdict_tiles(Counter(verdict for node in fleet.nodes for verdict in node.verdicts))
    yield says((*worries(fleet_worries(fleet)), *stopped(fleet)))
    yield grid(("node", "devices", "verdicts"), (node_row(node) for node in fleet.nodes), text=(0, 1, 2))
    yield overview(fleet.nodes)
    for node in fleet.nodes:
        if node.report:
            yield fold(node.name, *report_body(node.report), printed=True)


def stopped(done: Report | FleetReport) -> Iterator[Html]:
    if done.stopped:
        yield judged(Verdict.WARN, f"{STOPPED} before the end: what is not here was not measured")


def limits_of_trust(report: Report) -> Iterator[Html]:
    """Say what was measured less, and which figures other programs or their own spread make doubtful."""
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
    yield verdict_tiles(Counter(all_verdicts(report)))
    yield says((*worries(worth_a_look(report)), *stopped(report), *limits_of_trust(report)))
    if len(report.devices) > 1:
        yield overview((Node("", "", report),))
    for part in report.devices:
        title = f"{part.device.target}: {part.device.name}"
        if len(report.devices) == 1:
            yield joined((element("h2", title), *device(report, part)))
        else:
            own = Counter(result.verdict for result in report.results if result.device == part.device.target)
            yield fold(joined((title, "   ", tally(own))), *device(report, part), printed=True)
    targets = {part.device.target for part in report.devices}
    if between := [result for result in report.results if result.device not in targets]:
        own = Counter(result.verdict for result in between)
        title = joined(("Between the cards   ", tally(own)))
        yield fold(title, verdict_table(report, between), printed=True)
    if drawn := list(charts(report)):
        yield joined((element("h2", "Charts"), *drawn))
    yield health_table(report.devices)
    yield element("h2", "Settings")
    yield grid(("what", "value"), [[name, value] for name, value in settings(report)], text=(0, 1))


def overview(nodes: Sequence[Node]) -> Html:
    """A line for each device; what is not good is marked."""
    found = list(lines(nodes))
    named = any(line.node for line in found)
    titles = (*(("node",) if named else ()), "device", "model", "", *columns(found))
    rows = []
    for line in found:
        own = [line.node] if named else []
        cells = [marked(line, title) for title in columns(found)]
        rows.append([*own, line.device, line.model, badge(line.verdict), *cells])
    return grid(titles, rows, text=tuple(range(3 + named)))


def marked(line: Line, title: str) -> str:
    told = line.told(title)
    return judged(line.figures[title].verdict, told) if line.is_bad(title) else told


def worries(found: Iterable[tuple[Verdict, str, str]]) -> Iterator[Html]:
    return (judged(verdict, f"{where}: {text}") for verdict, where, text in found)


def judged(verdict: Verdict, text: str) -> Html:
    return joined((badge(verdict), f" {text}"))


def device(report: Report, part: DeviceReport) -> Iterator[Html]:
    yield says(judged(finding.verdict, finding.text) for finding in part.findings)
    yield verdict_table(report, [result for result in report.results if result.device == part.device.target])


def verdict_table(report: Report, results: Sequence[Result]) -> Html:
    models = {part.device.target: part.device.name for part in report.devices}
    named = [result for result in results if result.device not in models]
    titles = (*(("cards",) if named else ()), "test", "figure", "median", "spread, ± 5 %", "of the maker's", "")
    rows = []
    for result in results:
        cells = [result.test, shape_name(result), *numbers(result.figure, models.get(result.device, ""))]
        verdict = judged(result.verdict, "; ".join(result.reasons))
        rows.append([*([result.device] if named else []), *cells, verdict])
    words = (0, 1, len(titles) - 1) if not named else (0, 1, 2, len(titles) - 1)
    return grid(titles, rows, text=words)


def numbers(found: Figure | None, model: str) -> list[str]:
    if found is None:
        return ["", "", ""]
    row = specification_of(model)
    ceiling = row.ceiling(found.test, found.name) if row else None
    return [quantity(found.value, found.unit), spread(found), f"{found.value / ceiling:.0%}" if ceiling else ""]


def spread(found: Figure) -> Html:
    """All samples of all rounds, kept as they were."""
    times = np.concatenate([np.asarray(each) for each in found.samples.rounds_ns])
    shares = np.percentile(times, (5, 25, 75, 95)) / np.median(times) - 1
    told = f"{len(times)} samples in {len(found.samples.rounds_ns)} rounds; 5 %, quartiles and 95 % of them: "
    return box(shares.tolist(), told + ", ".join(f"{share:+.1%}" for share in shares))


def health_table(parts: Sequence[DeviceReport]) -> Html:
    """What each card said of itself; where it changed during the run, before and after."""
    looks = [health for part in parts for health in (part.health_before, part.health_after)]
    names = [name for name in Health.__struct_fields__ if any(getattr(look, name) is not None for look in looks)]
    if not names:
        return Html()
    rows = [[name.replace("_", " "), *(changed(name, part) for part in parts)] for name in names]
    titles = ("", *(part.device.target for part in parts))
    return joined((element("h2", "Health, as the cards tell it"), grid(titles, rows, text=tuple(range(len(titles))))))


def changed(name: str, part: DeviceReport) -> str:
    before, after = (told(name, getattr(health, name)) for health in (part.health_before, part.health_after))
    return before if before == after else f"{before} → {after}"


def told(name: str, value: object) -> str:
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
        about = part.device
        yield about.target, f"{about.name}, {about.memory_bytes / GIB:.1f} GiB, {about.identity}"


def verdict_tiles(counted: Counter[Verdict]) -> Html:
    return tiles((badge(verdict), str(counted[verdict])) for verdict in reversed(ORDER) if counted[verdict])


def tally(counted: Counter[Verdict]) -> Html:
    parts: list[str] = []
    for verdict in reversed(ORDER):
        if counted[verdict]:
            parts += [badge(verdict), f" {counted[verdict]}  "]
    return joined(parts)


def badge(verdict: Verdict) -> Html:
    return element("span", str(verdict), class_=f"badge {verdict.lower()}")
