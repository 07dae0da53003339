"""Runs the tests that are asked for on the devices that are meant, and keeps whatever they came to."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from typing import Any

import torch

from kernels_bench.benchmarks.context import Bench, Findings
from kernels_bench.benchmarks.names import BETWEEN, MODULES, TESTS
from kernels_bench.devices.find import release
from kernels_bench.devices.nvml import XidWatch, near_cpus, open_nvml, read_health, reader, topology
from kernels_bench.output.progress import Screen
from kernels_bench.results import FAIL, INVALID, STOPPED, Device, Figure, Reading, Report, Skipped
from kernels_bench.run.report_builder import Found, Run, Wish, about, judged, measured_less, versions
from kernels_bench.timing.budget import LEFT_OUT, until_ns
from kernels_bench.timing.card_sampler import Watch
from kernels_bench.timing.clocks import CpuClock, CudaClock
from kernels_bench.timing.cpu_affinity import on_cpus
from kernels_bench.timing.measure import FULL, QUICK, OutOfTimeError
from kernels_bench.timing.other_load import OtherLoad
from kernels_bench.timing.rank_group import CrewError


def run(wish: Wish, screen: Screen) -> Report:
    started, begun = datetime.now(UTC), time.monotonic()
    with open_nvml(wish.devices) as nvml:
        state = Run(wish, nvml, screen)
        state.before = {device.target: read_health(nvml, device) for device in wish.devices}
        xid_watch, load = XidWatch(nvml), OtherLoad()
        try:
            _between(state, _alone(state))
        except KeyboardInterrupt:
            state.stopped = True
        state.after = {device.target: read_health(nvml, device) for device in wish.devices}
        xids, others = xid_watch.close(), load.share()
        paths = {f"{a.target}→{b.target}": topology(nvml, a, b) for a in wish.devices for b in wish.devices if a != b}
    return Report(
        schema="kernels_bench/1",
        started=started.isoformat(timespec="seconds"),
        seconds=time.monotonic() - begun,
        command=tuple(sys.argv),
        quick=wish.quick,
        tolerance=wish.tolerance,
        versions=versions(state),
        devices=tuple(about(state, device, xids, others) for device in wish.devices),
        results=tuple(judged(state, paths)),
        topology=paths,
        stopped=state.stopped,
        measured_less=measured_less(state),
    )


def _alone(state: Run) -> tuple[Bench, ...]:
    """Each device by itself. Those that could be measured are handed on."""
    benches = []
    for number, device in enumerate(state.wish.devices):
        if users := state.users(device):
            _leave_alone(state, device, users)
            continue
        try:
            bench = _bench(state, device)
        except RuntimeError as error:
            reason = f"the card cannot be used: {first_line(error)}"
            _keep(state, device.target, Skipped("all", "not measured", reason, verdict=FAIL), [])
            continue
        state.opened.append(device)
        begin(state, bench)
        with on_cpus(bench.cpus):
            for test in (test for test in state.wish.tests if test not in BETWEEN):
                timed = within_budget(state, bench, test, number + 1)
                _one(state, timed, test, partial(_module(test).run, timed))
        benches.append(bench)
    return tuple(benches)


def begin(state: Run, bench: Bench) -> None:
    """Let the budget of --quick run from the start of the command, by the clock of the first device."""
    if state.begun_ns is None:
        state.begun_ns = bench.clock.now_ns() - state.wish.spent_s * 1e9


def within_budget(state: Run, bench: Bench, test: str, minutes: int) -> Bench:
    """Return the bench with the time by which this test has to end; without --quick there is none."""
    if not state.wish.quick or state.begun_ns is None or not takes_time(test, bench):
        return bench
    alike = tuple(
        other for other in state.wish.tests if (other in BETWEEN) == (test in BETWEEN) and takes_time(other, bench)
    )
    return replace(bench, until_ns=until_ns(state.begun_ns, minutes, test, alike))


def takes_time(test: str, bench: Bench) -> bool:
    """Return whether there is anything to measure: a processor has no PCIe to its own memory."""
    return test != "pcie" or bench.device.is_cuda


def _bench(state: Run, device: Device) -> Bench:
    read = reader(state.nvml, device)
    clock = (
        CudaClock(device, lambda: read().sm_mhz if read else None) if device.is_cuda else CpuClock(device.cache_bytes)
    )

    def say(text: str) -> None:
        state.screen.doing(f"{device.target} {text}")

    quick = state.wish.quick
    return Bench(device, clock, QUICK if quick else FULL, quick, say, near_cpus(state.nvml, device))


def _leave_alone(state: Run, device: Device, users: tuple[int, ...]) -> None:
    """What others run there would be slowed down, and might find no memory; and no figure would be the card's."""
    pids = ", ".join(map(str, users))
    reason = f"other processes are on the card, which is left to them: {pids}; end them, or name other cards"
    _keep(state, device.target, Skipped("all", "not measured", reason, verdict=INVALID), [])


def _one(state: Run, bench: Bench, test: str, findings: Callable[[], Findings], target: str = "") -> None:
    """One test on one device. What goes wrong becomes a row, and the next test has its turn."""
    target = target or bench.device.target
    state.screen.test(target, test, TESTS[test])
    if state.broken:
        reason = f"{state.broken}, and CUDA has to start anew after that: name the other cards with --device"
        _keep(state, target, Skipped(test, "all", reason), [])
        return
    wrong = ""
    with Watch(reader(state.nvml, bench.device)) as watch:
        seen, load = 0, OtherLoad()
        try:
            bench.require_time("all")
            for finding in findings():
                _keep(state, target, finding, watch.readings[seen:], load.share())
                seen, load = len(watch.readings), OtherLoad()
        except OutOfTimeError as error:
            name = error.name if error.name == "all" else f"{error.name} and what follows it" if error.name else "rest"
            _keep(state, target, Skipped(test, name, LEFT_OUT, out_of_time=True), [])
        except KeyboardInterrupt:
            _keep(state, target, Skipped(test, "rest", STOPPED), [])
            raise
        except Exception as error:  # whatever it was: hours of other cards' figures are not lost to it
            wrong = _in_words(error)
    if test == "sustained":
        state.curves[target] = list(watch.readings)
    if failed := _failed_card(state):  # only now, for an error holds on to the memory of those it went through
        state.broken = f"{failed[0]} failed before"
        _keep(state, target, Skipped(test, "rest", f"{failed[0]} failed: {wrong or failed[1]}", verdict=FAIL), [])
    elif wrong:
        _keep(state, target, Skipped(test, "rest", wrong, verdict=INVALID), [])


def _in_words(error: Exception) -> str:
    said = first_line(error)
    if isinstance(error, torch.OutOfMemoryError):
        return f"not enough memory: {said}"
    if isinstance(error, CrewError):
        return said
    if isinstance(error, RuntimeError):
        return f"torch refused: {said}"
    return f"kernels_bench itself failed, {type(error).__name__}: {said}"


def _failed_card(state: Run) -> tuple[str, str] | None:
    """CUDA says it again and again once a card has failed, and never again what it merely refused."""
    for device in state.opened:
        try:
            release(device)
        except RuntimeError as error:
            return device.target, first_line(error)
    return None


def _keep(
    state: Run,
    target: str,
    finding: Figure | Skipped,
    readings: list[Reading],
    others_share: float | None = None,
) -> None:
    state.found.append(Found(target, finding, readings, others_share))
    state.screen.found(finding)


def _between(state: Run, benches: tuple[Bench, ...]) -> None:
    """The tests that need more than one card."""
    for test in (test for test in state.wish.tests if test in BETWEEN):
        if len(benches) < 2:
            target = state.wish.devices[0].target if len(state.wish.devices) == 1 else "all"
            state.screen.test(target, test, TESTS[test])
            _keep(state, target, Skipped(test, "all", "one device only, and it takes two"), [])
            continue
        module, minutes = _module(test), len(state.wish.devices) + 1
        if test == "allreduce":
            timed = tuple(within_budget(state, bench, test, minutes) for bench in benches)
            _one(state, timed[0], test, partial(module.run, timed), "all")
            continue
        for source, target in module.pairs(benches):
            way = f"{source.device.target}→{target.device.target}"
            timed_source = within_budget(state, source, test, minutes)
            _one(state, timed_source, test, partial(module.run, timed_source, target), way)


def _module(test: str) -> Any:
    return import_module(f"kernels_bench.benchmarks.{MODULES.get(test, test)}")


def first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
