"""What a run has found so far, and what is said about it when it is over."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from kernels_bench.devices.nvml import Nvml
from kernels_bench.devices.specifications import specification_of
from kernels_bench.judge import card_health, verdicts
from kernels_bench.judge.doubts import UNSTABLE, doubts
from kernels_bench.judge.link_targets import by_path
from kernels_bench.judge.outliers import outliers
from kernels_bench.output.json_file import Baseline
from kernels_bench.output.progress import Screen
from kernels_bench.results import (
    PASS,
    WARN,
    Device,
    DeviceReport,
    Figure,
    Finding,
    Health,
    Reading,
    Result,
    Skipped,
)
from kernels_bench.timing.budget import what_was_cut


@dataclass(frozen=True)
class Wish:
    """What the command line asks for."""

    devices: tuple[Device, ...]
    tests: tuple[str, ...]
    quick: bool
    tolerance: float
    baseline: Baseline | None = None
    spent_s: float = 0.0  # since the command began, before the suite did


@dataclass(frozen=True)
class Found:
    """A figure or its absence, and what was seen of the device and of other programs meanwhile."""

    target: str
    finding: Figure | Skipped
    readings: list[Reading]
    others_share: float | None = None  # of the cores


@dataclass
class Run:
    """What has been found so far."""

    wish: Wish
    nvml: Nvml | None
    screen: Screen
    before: dict[str, Health] = field(default_factory=dict)
    after: dict[str, Health] = field(default_factory=dict)
    found: list[Found] = field(default_factory=list)
    curves: dict[str, list[Reading]] = field(default_factory=dict)
    opened: list[Device] = field(default_factory=list)
    broken: str = ""  # which card failed and how, if one did
    stopped: bool = False
    begun_ns: float | None = None  # when the command began, by the devices' clock

    def users(self, device: Device) -> tuple[int, ...]:
        return self.before[device.target].processes or ()


def judged(state: Run, paths: dict[str, str]) -> list[Result]:
    wish, names = state.wish, {device.target: device.name for device in state.wish.devices}
    results = []
    for each in state.found:
        target, finding = each.target, each.finding
        if isinstance(finding, Skipped):
            results.append(Result(finding.verdict, (finding.reason,), target, skipped=finding))
            continue
        card = names.get(target)
        taking_part = [target] if card else [name for name in names if target == "all" or name in target.split("→")]
        invalid = [
            reason
            for name in taking_part
            for reason in verdicts.invalid_conditions(
                finding.test,
                each.readings,
                state.before[name],
                card_health.newcomers(state.before[name], state.after[name]),
            )
        ]
        known = wish.baseline.figure(target, card, finding.test, finding.name) if wish.baseline else None
        specification = specification_of(card or names.get(taking_part[0], ""))
        held = specification if card else None
        verdict, reasons = verdicts.judge(finding, card or "", invalid, held, known, wish.tolerance)
        doubtful = doubts(finding, target != "cpu", each.others_share, wish.tolerance)
        reasons += tuple(doubt for doubt in doubtful if doubt != UNSTABLE)  # which `judge` has said
        verdict = WARN if doubtful and verdict == PASS else verdict
        result = Result(verdict, reasons, target, figure=finding, others_share=each.others_share, doubts=doubtful)
        results.append(by_path(result, paths[target], specification) if target in paths else result)
    pairs = {pair: f"{'→'.join(names[end] for end in pair.split('→'))}, {path}" for pair, path in paths.items()}
    return outliers(results, names | pairs, wish.tolerance)


def measured_less(state: Run) -> tuple[str, ...]:
    """List what --quick left out or shortened, with the device where there are several."""
    several = len(state.wish.devices) > 1
    return tuple(
        f"{each.target} {cut}" if several else cut for each in state.found for cut in what_was_cut(each.finding)
    )


def about(state: Run, device: Device, xids: Mapping[str, Sequence[int]], others: float | None) -> DeviceReport:
    before, after = state.before[device.target], state.after[device.target]
    if not device.is_cuda:
        findings = card_health.cpu_findings(others, state.wish.tolerance)
    elif before == Health():
        findings = (Finding(WARN, "NVML says nothing about this card: its health and company are unknown"),)
    else:
        findings = card_health.findings(before, after, specification_of(device.name), xids.get(device.target, ()))
    return DeviceReport(device, before, after, findings, tuple(state.curves.get(device.target, ())))


def versions(state: Run) -> dict[str, str]:
    driver = next((health.driver for health in state.before.values() if health.driver), None)
    known = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "driver": driver,
        "kernel": platform.release(),
    }
    return {name: str(version) for name, version in known.items() if version}
