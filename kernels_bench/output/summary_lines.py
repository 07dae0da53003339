"""One line per device of a machine or a fleet, and the problems, for a terminal and for a page."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kernels_bench.judge.fleet import Node
from kernels_bench.judge.verdicts import worst_of
from kernels_bench.output.quantities import quantity
from kernels_bench.output.terminal import because
from kernels_bench.results import FAIL, INVALID, WARN, Report, Result, Verdict

# title -> the test, and the beginning of the figure's name
HEADLINES = {
    "copy": ("memory", "copy"),
    "BF16 product": ("gemm", "bf16 square"),
    "best shape": ("gemm", "bf16 best shape"),
    "sustained": ("sustained", ""),
    "to GPU": ("pcie", "to card, pinned"),
    "GPU to GPU": ("p2p", "one way"),
    "all-reduce": ("allreduce", "8192 tokens"),
}
BAD = (FAIL, INVALID, WARN)
Figures = dict[str, Result]  # by the title of the column


@dataclass(frozen=True)
class Line:
    """Holds the headline figures of a device, or of the links between the devices of a machine."""

    node: str
    device: str
    model: str
    verdict: Verdict
    figures: Figures

    def value(self, title: str) -> str:
        result = self.figures.get(title)
        return quantity(result.figure.value, result.figure.unit) if result and result.figure else ""

    def is_bad(self, title: str) -> bool:
        return title in self.figures and self.figures[title].verdict in BAD


def lines(nodes: Sequence[Node]) -> Iterator[Line]:
    for node in nodes:
        if node.report is None:
            yield Line(node.name, "-", "", INVALID, {})
            continue
        for part in node.report.devices:
            own = node.report.of(part.device.target)
            worst = worst_of([*(result.verdict for result in own), *(finding.verdict for finding in part.findings)])
            yield Line(node.name, part.device.target, part.device.name, worst, headlines(own))
        if between := node.report.between_devices:
            worst = worst_of(result.verdict for result in between)
            yield Line(node.name, "between", "", worst, headlines(between))


def columns(rows: Sequence[Line]) -> list[str]:
    return [title for title in HEADLINES if any(title in line.figures for line in rows)]


def headlines(results: Sequence[Result]) -> Figures:
    """Return the figure of each column; of several pairs that of the slowest."""
    figures: Figures = {}
    for title, (test, start) in HEADLINES.items():
        matching = [
            result for result in results if result.figure and result.test == test and result.name.startswith(start)
        ]
        if matching:
            figures[title] = min(matching, key=lambda result: result.figure.value if result.figure else 0.0)
    return figures


def problems(report: Report) -> Iterator[tuple[Verdict, str, str]]:
    """Yield verdict, devices and text of each problem, the worst first; the same text of several devices once."""
    devices: dict[tuple[Verdict, str], list[str]] = {}
    for part in report.devices:
        for finding in part.findings:
            devices.setdefault((finding.verdict, finding.text), []).append(part.device.target)
    for result in report.results:
        text = f"{result.test} {result.name}: {because(result)}"
        devices.setdefault((result.verdict, text), []).append(result.device)
    for bad_verdict in BAD:
        for (verdict, text), targets in devices.items():
            if verdict == bad_verdict:
                yield verdict, ", ".join(targets), text
