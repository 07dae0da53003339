"""Running the tests on the devices and collecting their findings."""

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
from kernels_bench.run.report_builder import Observation, Options, Run, device_report, judged, measured_less, versions
from kernels_bench.timing.budget import LEFT_OUT, until_ns
from kernels_bench.timing.clocks import CpuClock, CudaClock
from kernels_bench.timing.cpu_affinity import on_cpus
from kernels_bench.timing.gpu_sampler import sampled
from kernels_bench.timing.measure import FULL, QUICK, OutOfTimeError
from kernels_bench.timing.other_load import OtherLoad
from kernels_bench.timing.rank_group import RankGroupError
from page_kit.plain_text import first_line


def run(options: Options, screen: Screen) -> Report:
    started, started_s = datetime.now(UTC), time.monotonic()
    devices = options.devices
    with open_nvml(devices) as nvml:
        state = Run(options, nvml, screen)
        state.before = {device.target: read_health(nvml, device) for device in devices}
        xid_watch, load = XidWatch(nvml), OtherLoad()
        try:
            _run_between(state, _run_alone(state))
        except KeyboardInterrupt:
            state.stopped = True
        state.after = {device.target: read_health(nvml, device) for device in devices}
        xids, others = xid_watch.close(), load.share()
        paths = {f"{a.target}→{b.target}": topology(nvml, a, b) for a in devices for b in devices if a != b}
    return Report(
        schema="kernels_bench/1",
        started=started.isoformat(timespec="seconds"),
        seconds=time.monotonic() - started_s,
        command=tuple(sys.argv),
        quick=options.quick,
        tolerance=options.tolerance,
        versions=versions(state),
        devices=tuple(device_report(state, device, xids, others) for device in devices),
        results=tuple(judged(state, paths)),
        topology=paths,
        stopped=state.stopped,
        measured_less=measured_less(state),
    )


def _run_alone(state: Run) -> tuple[Bench, ...]:
    """Run the tests of single devices on each; return the devices that could be measured."""
    benches = []
    for number, device in enumerate(state.options.devices):
        if users := state.users(device):
            _skip_used(state, device, users)
            continue
        try:
            bench = _bench(state, device)
        except RuntimeError as error:
            reason = f"the GPU cannot be used: {first_line(error)}"
            _keep(state, device.target, Skipped("all", "not measured", reason, verdict=FAIL), [])
            continue
        state.opened.append(device)
        start_budget(state, bench)
        with on_cpus(bench.cpus):
            for test in (test for test in state.options.tests if test not in BETWEEN):
                timed = within_budget(state, bench, test, number + 1)
                _run_test(state, timed, test, partial(_module(test).run, timed))
        benches.append(bench)
    return tuple(benches)


def start_budget(state: Run, bench: Bench) -> None:
    """Let the budget of --quick run from the start of the command, by the clock of the first device."""
    if state.started_ns is None:
        state.started_ns = bench.clock.now_ns() - state.options.spent_s * 1e9


def within_budget(state: Run, bench: Bench, test: str, minutes: int) -> Bench:
    """Return the bench with the time by which this test must end; without --quick there is none."""
    if not state.options.quick or state.started_ns is None or not takes_time(test, bench):
        return bench
    same_kind = tuple(
        other for other in state.options.tests if (other in BETWEEN) == (test in BETWEEN) and takes_time(other, bench)
    )
    return replace(bench, until_ns=until_ns(state.started_ns, minutes, test, same_kind))


def takes_time(test: str, bench: Bench) -> bool:
    """Return whether the test measures anything on this device: a CPU has no PCIe to its own memory."""
    return test != "pcie" or bench.device.is_cuda


def _bench(state: Run, device: Device) -> Bench:
    read = reader(state.nvml, device)
    clock = (
        CudaClock(device, lambda: read().sm_mhz if read else None) if device.is_cuda else CpuClock(device.cache_bytes)
    )

    def say(text: str) -> None:
        state.screen.doing(f"{device.target} {text}")

    quick = state.options.quick
    return Bench(device, clock, QUICK if quick else FULL, quick, say, near_cpus(state.nvml, device))


def _skip_used(state: Run, device: Device, users: tuple[int, ...]) -> None:
    """Skip a GPU that other programs use: tests would disturb them, and the figures would be wrong."""
    pids = ", ".join(map(str, users))
    reason = f"other processes use the GPU, so it was not touched: {pids}; end them, or name other GPUs"
    _keep(state, device.target, Skipped("all", "not measured", reason, verdict=INVALID), [])


def _run_test(state: Run, bench: Bench, test: str, findings: Callable[[], Findings], target: str = "") -> None:
    """Run one test on one device; a failure becomes a row, so that the next test can run."""
    target = target or bench.device.target
    state.screen.test(target, test, TESTS[test])
    if state.broken:
        reason = f"{state.broken}, and CUDA must be restarted after that: name the other GPUs with --device"
        _keep(state, target, Skipped(test, "all", reason), [])
        return
    failure = ""
    with sampled(reader(state.nvml, bench.device)) as readings:
        num_read, load = 0, OtherLoad()
        try:
            bench.require_time("all")
            for finding in findings():
                _keep(state, target, finding, readings[num_read:], load.share())
                num_read, load = len(readings), OtherLoad()
        except OutOfTimeError as error:
            name = error.name if error.name == "all" else f"{error.name} and what follows it" if error.name else "rest"
            _keep(state, target, Skipped(test, name, LEFT_OUT, out_of_time=True), [])
        except KeyboardInterrupt:
            _keep(state, target, Skipped(test, "rest", STOPPED), [])
            raise
        except Exception as error:  # no error may cost the figures of the other devices
            failure = _in_words(error)
    if test == "sustained":
        state.curves[target] = list(readings)
    if failed := _failed_gpu(state):  # outside of the handler, because the error keeps tensors alive
        state.broken = f"{failed[0]} failed before"
        _keep(state, target, Skipped(test, "rest", f"{failed[0]} failed: {failure or failed[1]}", verdict=FAIL), [])
    elif failure:
        _keep(state, target, Skipped(test, "rest", failure, verdict=INVALID), [])


def _in_words(error: Exception) -> str:
    message = first_line(error)
    if isinstance(error, torch.OutOfMemoryError):
        return f"not enough memory: {message}"
    if isinstance(error, RankGroupError):
        return message
    if isinstance(error, RuntimeError):
        return f"torch refused: {message}"
    return f"kernels_bench itself failed, {type(error).__name__}: {message}"


def _failed_gpu(state: Run) -> tuple[str, str] | None:
    """Return a GPU that has failed, and its error, which CUDA then repeats at every call."""
    for device in state.opened:
        try:
            release(device)
        except RuntimeError as error:
            return device.target, first_line(error)
    return None


def _keep(
    state: Run, target: str, finding: Figure | Skipped, readings: list[Reading], others_share: float | None = None
) -> None:
    state.observations.append(Observation(target, finding, readings, others_share))
    state.screen.found(finding)


def _run_between(state: Run, benches: tuple[Bench, ...]) -> None:
    """Run the tests that need more than one device."""
    devices = state.options.devices
    for test in (test for test in state.options.tests if test in BETWEEN):
        if len(benches) < 2:
            target = devices[0].target if len(devices) == 1 else "all"
            state.screen.test(target, test, TESTS[test])
            _keep(state, target, Skipped(test, "all", "one device only, and it takes two"), [])
            continue
        module, minutes = _module(test), len(devices) + 1
        if test == "allreduce":
            timed = tuple(within_budget(state, bench, test, minutes) for bench in benches)
            _run_test(state, timed[0], test, partial(module.run, timed), "all")
            continue
        for source, target in module.pairs(benches):
            pair = f"{source.device.target}→{target.device.target}"
            timed_source = within_budget(state, source, test, minutes)
            _run_test(state, timed_source, test, partial(module.run, timed_source, target), pair)


def _module(test: str) -> Any:
    return import_module(f"kernels_bench.benchmarks.{MODULES.get(test, test)}")
