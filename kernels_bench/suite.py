"""Runs the tests that are asked for on the devices that are meant, and has each figure judged."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from typing import Any

import torch

from kernels_bench import checkup, verdicts
from kernels_bench.bench import Bench, Findings
from kernels_bench.clocks import CpuClock, CudaClock
from kernels_bench.crew import CrewError
from kernels_bench.devices import release
from kernels_bench.files import Baseline
from kernels_bench.health import CpuShare, Nvml, XidWatch, open_nvml, read_health, reader, topology
from kernels_bench.names import BETWEEN, TESTS
from kernels_bench.results import (
    FAIL,
    INVALID,
    WARN,
    Device,
    DeviceReport,
    Figure,
    Finding,
    Health,
    Reading,
    Report,
    Result,
    Skipped,
)
from kernels_bench.screen import Screen
from kernels_bench.specifications import specification_of
from kernels_bench.timing import FULL, QUICK
from kernels_bench.watch import Watch


@dataclass(frozen=True)
class Wish:
    """What the command line asks for."""

    devices: tuple[Device, ...]
    tests: tuple[str, ...]
    quick: bool
    tolerance: float
    baseline: Baseline | None = None


@dataclass
class Run:
    """What has been found so far."""

    wish: Wish
    nvml: Nvml | None
    screen: Screen
    before: dict[str, Health] = field(default_factory=dict)
    after: dict[str, Health] = field(default_factory=dict)
    found: list[tuple[str, Figure | Skipped, list[Reading]]] = field(default_factory=list)
    curves: dict[str, list[Reading]] = field(default_factory=dict)
    broken: str = ""  # which card failed and how, if one did

    def users(self, device: Device) -> tuple[int, ...]:
        return self.before[device.target].processes or ()


def run(wish: Wish, screen: Screen) -> Report:
    started, begun = datetime.now(UTC), time.monotonic()
    with open_nvml(wish.devices) as nvml:
        state = Run(wish, nvml, screen)
        state.before = {device.target: read_health(nvml, device) for device in wish.devices}
        xid_watch, cpu_share = XidWatch(nvml), CpuShare()
        benches = tuple(_bench(state, device) for device in wish.devices)
        for bench in benches:
            if users := state.users(bench.device):
                _leave_alone(state, bench, users)
                continue
            for test in (test for test in wish.tests if test not in BETWEEN):
                _one(state, bench, test, partial(_module(test).run, bench))
        _between(state, tuple(bench for bench in benches if not state.users(bench.device)))
        state.after = {device.target: read_health(nvml, device) for device in wish.devices}
        xids, others = xid_watch.close(), cpu_share.others()
        paths = {f"{a.target}→{b.target}": topology(nvml, a, b) for a in wish.devices for b in wish.devices if a != b}
    return Report(
        schema="kernels_bench/1",
        started=started.isoformat(timespec="seconds"),
        seconds=time.monotonic() - begun,
        command=tuple(sys.argv),
        quick=wish.quick,
        tolerance=wish.tolerance,
        versions=_versions(state),
        devices=tuple(_about(state, device, xids, others) for device in wish.devices),
        results=tuple(judged(state, paths)),
        topology=paths,
    )


def _bench(state: Run, device: Device) -> Bench:
    read = reader(state.nvml, device)
    clock = (
        CudaClock(device, lambda: read().sm_mhz if read else None) if device.is_cuda else CpuClock(device.cache_bytes)
    )

    def say(text: str) -> None:
        state.screen.doing(f"{device.target} {text}")

    return Bench(device, clock, QUICK if state.wish.quick else FULL, state.wish.quick, say)


def _leave_alone(state: Run, bench: Bench, users: tuple[int, ...]) -> None:
    """What others run there would be slowed down, and might find no memory; and no figure would be the card's."""
    pids = ", ".join(map(str, users))
    reason = f"other processes are on the card, which is left to them: {pids}; end them, or name other cards"
    _keep(state, bench.device.target, Skipped("all", "not measured", reason, verdict=INVALID), [])


def _one(state: Run, bench: Bench, test: str, findings: Callable[[], Findings], target: str = "") -> None:
    """One test on one device. What goes wrong becomes a row, and the next test has its turn."""
    target = target or bench.device.target
    state.screen.test(target, test, TESTS[test])
    if state.broken:
        reason = f"{state.broken}, and CUDA has to start anew after that: name the other cards with --device"
        _keep(state, target, Skipped(test, "all", reason), [])
        return
    with Watch(reader(state.nvml, bench.device)) as watch:
        seen = 0
        try:
            for finding in findings():
                _keep(state, target, finding, watch.readings[seen:])
                seen = len(watch.readings)
        except torch.OutOfMemoryError as error:
            _keep(state, target, Skipped(test, "rest", f"not enough memory: {first_line(error)}", verdict=INVALID), [])
        except torch.AcceleratorError as error:
            state.broken = f"{bench.device.target} failed before"
            _keep(state, target, Skipped(test, "rest", f"the card failed: {first_line(error)}", verdict=FAIL), [])
        except CrewError as error:
            _keep(state, target, Skipped(test, "rest", str(error), verdict=INVALID), [])
        except RuntimeError as error:
            _keep(state, target, Skipped(test, "rest", f"torch refused: {first_line(error)}", verdict=INVALID), [])
    if test == "sustained":
        state.curves[target] = list(watch.readings)
    if not state.broken:
        release(bench.device)


def _keep(state: Run, target: str, finding: Figure | Skipped, readings: list[Reading]) -> None:
    state.found.append((target, finding, readings))
    state.screen.found(finding)


def _between(state: Run, benches: tuple[Bench, ...]) -> None:
    """The tests that need more than one card."""
    for test in (test for test in state.wish.tests if test in BETWEEN):
        if len(benches) < 2:
            target = state.wish.devices[0].target if len(state.wish.devices) == 1 else "all"
            state.screen.test(target, test, TESTS[test])
            _keep(state, target, Skipped(test, "all", "one device only, and it takes two"), [])
            continue
        module = _module(test)
        if test == "allreduce":
            _one(state, benches[0], test, partial(module.run, benches), "all")
            continue
        for source, target in module.pairs(benches):
            way = f"{source.device.target}→{target.device.target}"
            _one(state, source, test, partial(module.run, source, target), way)


def judged(state: Run, paths: dict[str, str]) -> list[Result]:
    wish, names = state.wish, {device.target: device.name for device in state.wish.devices}
    results = []
    for target, finding, readings in state.found:
        if isinstance(finding, Skipped):
            results.append(Result(finding.verdict, (finding.reason,), target, skipped=finding))
            continue
        card = names.get(target)
        taking_part = [target] if card else [name for name in names if target == "all" or name in target.split("→")]
        invalid = [
            reason
            for name in taking_part
            for reason in verdicts.invalid_conditions(
                finding.test, readings, state.before[name], checkup.newcomers(state.before[name], state.after[name])
            )
        ]
        known = wish.baseline.figure(target, card, finding.test, finding.name) if wish.baseline else None
        specification = specification_of(card or names.get(taking_part[0], ""))
        held = specification if card else None
        verdict, reasons = verdicts.judge(finding, card or "", invalid, held, known, wish.tolerance)
        result = Result(verdict, reasons, target, figure=finding)
        results.append(verdicts.by_path(result, paths[target], specification) if target in paths else result)
    pairs = {pair: f"{'→'.join(names[end] for end in pair.split('→'))}, {path}" for pair, path in paths.items()}
    return verdicts.outliers(results, names | pairs, wish.tolerance)


def _about(state: Run, device: Device, xids: tuple[int, ...], others: float | None) -> DeviceReport:
    before, after = state.before[device.target], state.after[device.target]
    if not device.is_cuda:
        findings = checkup.cpu_findings(others, device.cores, state.wish.tolerance)
    elif before == Health():
        findings = (Finding(WARN, "NVML says nothing about this card: its health and company are unknown"),)
    else:
        findings = checkup.findings(before, after, specification_of(device.name), xids)
    return DeviceReport(device, before, after, findings, tuple(state.curves.get(device.target, ())))


def _versions(state: Run) -> dict[str, str]:
    driver = next((health.driver for health in state.before.values() if health.driver), None)
    known = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "driver": driver,
        "kernel": platform.release(),
    }
    return {name: str(version) for name, version in known.items() if version}


def _module(test: str) -> Any:
    return import_module(f"kernels_bench.{test}")


def first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
