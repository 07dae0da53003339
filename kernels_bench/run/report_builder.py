"""The findings of a run, and the report that is made of them at its end."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from kernels_bench.devices.nvml import Nvml
from kernels_bench.devices.specifications import specification_of
from kernels_bench.judge import gpu_health, verdicts
from kernels_bench.judge.doubts import UNSTABLE, doubts
from kernels_bench.judge.engine_all_reduce import beside_engine
from kernels_bench.judge.link_targets import by_path
from kernels_bench.judge.outliers import outliers
from kernels_bench.output.json_file import Baseline
from kernels_bench.output.progress import Screen
from kernels_bench.results import PASS, WARN, Device, DeviceReport, Figure, Finding, Health, Reading, Result, Skipped
from kernels_bench.timing.budget import what_was_cut


@dataclass(frozen=True)
class Options:
    """Holds what the command line asks for."""

    devices: tuple[Device, ...]
    tests: tuple[str, ...]
    quick: bool
    tolerance: float
    baseline: Baseline | None = None
    spent_s: float = 0.0  # from the start of the command to that of the suite


@dataclass(frozen=True)
class Observation:
    """Holds a finding with the samples of the device and the load by other programs meanwhile."""

    target: str
    finding: Figure | Skipped
    readings: list[Reading]
    others_share: float | None = None  # of the cores


@dataclass
class Run:
    """Collects what a run observes."""

    options: Options
    nvml: Nvml | None
    screen: Screen
    before: dict[str, Health] = field(default_factory=dict)  # by target, as the next one
    after: dict[str, Health] = field(default_factory=dict)
    observations: list[Observation] = field(default_factory=list)
    curves: dict[str, list[Reading]] = field(default_factory=dict)
    opened: list[Device] = field(default_factory=list)
    broken: str = ""  # which GPU failed and how, if one did
    stopped: bool = False
    started_ns: float | None = None  # start of the command, by the devices' clock

    def users(self, device: Device) -> tuple[int, ...]:
        return self.before[device.target].processes or ()


def judged(state: Run, paths: dict[str, str]) -> list[Result]:
    """Judge all findings; `paths` holds the path between the GPUs of each pair."""
    names = {device.target: device.name for device in state.options.devices}
    results = [judged_one(state, observation, names, paths) for observation in state.observations]
    pairs = {pair: f"{'→'.join(names[end] for end in pair.split('→'))}, {path}" for pair, path in paths.items()}
    return outliers(results, names | pairs, state.options.tolerance)


OVER_C2C = "this GPU and its CPU are linked by NVLink-C2C: the transfer does not show what PCIe carries"


def judged_one(state: Run, observation: Observation, names: dict[str, str], paths: dict[str, str]) -> Result:
    target, finding, options = observation.target, observation.finding, state.options
    if isinstance(finding, Skipped):
        return Result(finding.verdict, (finding.reason,), target, skipped=finding)
    model = names.get(target)  # None for a pair, or all devices
    taking_part = [target] if model else [name for name in names if target == "all" or name in target.split("→")]
    invalid = [
        reason
        for name in taking_part
        for reason in verdicts.invalid_conditions(
            finding.test,
            observation.readings,
            state.before[name],
            gpu_health.newcomers(state.before[name], state.after[name]),
        )
    ]
    baseline = options.baseline.figure(target, model, finding.test, finding.name) if options.baseline else None
    specification = specification_of(model or names.get(taking_part[0], ""))
    over_c2c = finding.test == "pcie" and bool(state.before[target].c2c_links)
    own = specification if model and not over_c2c else None
    verdict, reasons = verdicts.judge(finding, model or "", invalid, own, baseline, options.tolerance)
    others_share = observation.others_share
    doubtful = doubts(finding, target != "cpu", others_share, options.tolerance)
    reasons += (OVER_C2C,) * over_c2c
    reasons += tuple(doubt for doubt in doubtful if doubt != UNSTABLE)  # `judge` has added that one
    verdict = WARN if doubtful and verdict == PASS else verdict
    result = Result(verdict, reasons, target, figure=finding, others_share=others_share, doubts=doubtful)
    if target in paths:
        return by_path(result, paths[target], specification)
    return beside_engine(result, options.devices, paths)


def measured_less(state: Run) -> tuple[str, ...]:
    """List what --quick left out or shortened, with the device if there are several."""
    several = len(state.options.devices) > 1
    return tuple(
        f"{observation.target} {cut}" if several else cut
        for observation in state.observations
        for cut in what_was_cut(observation.finding)
    )


def device_report(state: Run, device: Device, xids: Mapping[str, Sequence[int]], others: float | None) -> DeviceReport:
    before, after = state.before[device.target], state.after[device.target]
    if not device.is_cuda:
        findings = gpu_health.cpu_findings(others, state.options.tolerance)
    elif before == Health():
        findings = (Finding(WARN, "NVML reports nothing about this GPU: its health and other users are unknown"),)
    else:
        findings = gpu_health.findings(before, after, specification_of(device.name), xids.get(device.target, ()))
    return DeviceReport(device, before, after, findings, tuple(state.curves.get(device.target, ())))


def versions(state: Run) -> dict[str, str]:
    driver = next((health.driver for health in state.before.values() if health.driver), None)
    all_versions = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "driver": driver,
        "kernel": platform.release(),
    }
    return {name: str(version) for name, version in all_versions.items() if version}
