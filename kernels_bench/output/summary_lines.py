"""Many devices in a line each, and what needs a look: for a terminal, for a page, for one box and for a fleet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kernels_bench.judge.fleet import Node, worst
from kernels_bench.output.terminal import because
from kernels_bench.output.words import quantity
from kernels_bench.results import FAIL, INVALID, WARN, Report, Result, Verdict

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
BAD = (FAIL, INVALID, WARN)
Figures = dict[str, Result]  # by the title of the column


@dataclass(frozen=True)
class Line:
    """A device, or what is between the devices of a box; of several pairs the slowest."""

    node: str
    device: str
    model: str
    verdict: Verdict
    figures: Figures

    def told(self, title: str) -> str:
        found = self.figures.get(title)
        return quantity(found.figure.value, found.figure.unit) if found and found.figure else ""

    def is_bad(self, title: str) -> bool:
        return title in self.figures and self.figures[title].verdict in BAD


def lines(nodes: Sequence[Node]) -> Iterator[Line]:
    for node in nodes:
        if node.report is None:
            yield Line(node.name, "-", "", INVALID, {})
            continue
        for part in node.report.devices:
            own = [result for result in node.report.results if result.device == part.device.target]
            said = [*(result.verdict for result in own), *(finding.verdict for finding in part.findings)]
            yield Line(node.name, part.device.target, part.device.name, worst(said) or INVALID, headlines(own))
        if between := between_cards(node.report):
            said = [result.verdict for result in between]
            yield Line(node.name, "between", "", worst(said) or INVALID, headlines(between))


def columns(found: Sequence[Line]) -> list[str]:
    return [title for title in HEADLINES if any(title in line.figures for line in found)]


def headlines(results: Sequence[Result]) -> Figures:
    found: Figures = {}
    for title, (test, begins) in HEADLINES.items():
        fitting = [each for each in results if each.figure and each.test == test and each.name.startswith(begins)]
        if fitting:
            found[title] = min(fitting, key=lambda each: each.figure.value if each.figure else 0.0)
    return found


def between_cards(report: Report) -> list[Result]:
    targets = {part.device.target for part in report.devices}
    return [result for result in report.results if result.device not in targets]


def worth_a_look(report: Report) -> Iterator[tuple[Verdict, str, str]]:
    """The worst first; the same said of several devices once."""
    said: dict[tuple[Verdict, str], list[str]] = {}
    for part in report.devices:
        for finding in part.findings:
            said.setdefault((finding.verdict, finding.text), []).append(part.device.target)
    for result in report.results:
        text = f"{result.test} {result.name}: {because(result)}"
        said.setdefault((result.verdict, text), []).append(result.device)
    for verdict in BAD:
        for (each, text), places in said.items():
            if each == verdict:
                yield verdict, ", ".join(places), text
