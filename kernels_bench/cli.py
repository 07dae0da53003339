"""The command `python -m kernels_bench`, which is also `engine_probe validate`.

Exit codes: 0 fine, 1 a verdict is FAIL, 2 wrong input, 3 could not run or a figure is INVALID, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from difflib import get_close_matches
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kernels_bench.benchmarks.names import BETWEEN, TESTS
from kernels_bench.errors import InputError, UnavailableError
from kernels_bench.options import FILE, GroupedHelp, Number, under
from kernels_bench.usage import usage_sentence

if TYPE_CHECKING:
    from kernels_bench.judge.fleet import FleetReport
    from kernels_bench.results import Device, Report


what, criteria, output = map(under, ("What is measured", "Criteria", "Output"))


@click.command(cls=GroupedHelp, context_settings={"help_option_names": ["-h", "--help"]})
@what(
    "--device", "wanted", metavar="DEVICES", help="cpu, all, or GPUs such as cuda:0,1 [default: all GPUs, or the CPU]."
)
@what("--only", metavar="TESTS", help=f"Run only these tests, separated by commas: {', '.join(TESTS)}.")
@what(
    "--quick",
    is_flag=True,
    help="Take at most a minute per device, and one for the tests between devices: shorter rounds, fewer "
    "shapes. A busy machine measures less, and the report lists what is missing.",
)
@what(
    "--ray",
    "address",
    metavar="ADDRESS",
    help="Measure all machines of a Ray cluster at the same time: auto, or HOST:PORT of its head.",
)
@criteria("--baseline", "baseline_path", metavar="FILE", type=FILE, help="Compare with a file that --json wrote.")
@criteria(
    "--tolerance",
    type=Number(min=0, max=100, min_open=True),
    default=5.0,
    show_default=True,
    help="Percent by which a figure may fall short of its baseline, or a GPU of others of its model.",
)
@output("--json", "json_path", metavar="FILE", type=FILE, help="Write the report with every sample.")
@output("--html", "page_path", metavar="FILE", type=FILE, help="Write the report as one page.")
@click.pass_context
def command(
    context: click.Context,
    wanted: str | None,
    only: str | None,
    quick: bool,
    json_path: Path | None,
    page_path: Path | None,
    baseline_path: Path | None,
    tolerance: float,
    address: str | None,
) -> None:
    """Measure this hardware and compare it with its specification.

    Exit codes: 0 fine, 1 a verdict is FAIL, 3 a figure is INVALID, 130 Ctrl-C (finished tests are kept).
    """
    started = time.perf_counter()
    tests = chosen_tests(only)
    write = partial(write_files, json_path=json_path, page_path=page_path)
    if address is not None:
        check_files(json_path, page_path)
        chosen = (*(("--only", only) if only else ()), *(("--quick",) if quick else ()))
        context.exit(on_a_fleet(address, wanted, chosen, baseline_path, tolerance, write))
    if find_spec("torch") is None:
        raise UnavailableError("torch is not installed, and every figure is measured with it: pip install torch")
    from kernels_bench.devices import ceilings
    from kernels_bench.devices.find import find_devices
    from kernels_bench.output import fleet_terminal, json_file, progress
    from kernels_bench.run import device_tests, report_builder

    check_files(json_path, page_path)
    saved = json_file.Baseline(json_file.read_report(baseline_path), baseline_path) if baseline_path else None
    devices = find_devices(wanted)
    check_possible(only, tests, devices)
    for device in devices:
        if saved:
            saved.check_covers(device.name)
    with progress.Screen() as screen:
        options = report_builder.Options(devices, tests, quick, tolerance / 100, saved, time.perf_counter() - started)
        report = device_tests.run(options, screen)
    try:
        code = fleet_terminal.show_any(report, partial(write, report))
    finally:
        if stored := ceilings.store(report):
            click.echo(f"Ceilings for later runs on this hardware: {', '.join(map(str, stored))}", err=True)
            for line in ceilings.not_used(report):
                click.echo(f"  stored but not used: {line}", err=True)
    context.exit(code)


def on_a_fleet(
    address: str,
    wanted: str | None,
    chosen: tuple[str, ...],
    baseline_path: Path | None,
    tolerance: float,
    write: Callable[[FleetReport], None],
) -> int:
    from kernels_bench.output import fleet_terminal, json_file
    from kernels_bench.run import ray_fleet

    if baseline_path:
        json_file.read_report(baseline_path)
    saved = baseline_path.read_bytes() if baseline_path else None
    command = ray_fleet.NodeCommand(wanted, ("--tolerance", str(tolerance), *chosen), tolerance / 100, saved)
    report = ray_fleet.run(address, command, lambda text: click.echo(text, err=True))
    return fleet_terminal.show_any(report, partial(write, report))


def check_files(json_path: Path | None, page_path: Path | None) -> None:
    """Refuse output files that cannot be written, before anything is measured."""
    from kernels_bench.output import json_file

    if json_path and json_path == page_path:
        raise InputError(f"--json and --html are both {json_path}: name two files")
    for option, path in (("--json", json_path), ("--html", page_path)):
        if path:
            json_file.check_writable(path, option)


def write_files(report: Report | FleetReport, json_path: Path | None, page_path: Path | None) -> None:
    from kernels_bench.output import json_file
    from kernels_bench.output.page.document import page

    if json_path:
        json_file.write_report(report, json_path)
    if page_path:
        json_file.write_new(page_path, page(report).encode())


def chosen_tests(only: str | None) -> tuple[str, ...]:
    """Return the tests that `--only` names, in the order of TESTS; all of them without it."""
    if only is None:
        return tuple(TESTS)
    names = [name.strip() for name in only.split(",")]
    for name in names:
        if name not in TESTS:
            near = get_close_matches(name, TESTS, 1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(TESTS)}"
            raise InputError(f'--only names "{name}", which is not a test: {hint}')
    return tuple(name for name in TESTS if name in names)


def check_possible(only: str | None, tests: tuple[str, ...], devices: tuple[Device, ...]) -> None:
    """Refuse a test that `--only` names and these devices cannot run."""
    if only is None:
        return
    for test in tests:
        if test in BETWEEN and len(devices) < 2:
            raise UnavailableError(f"--only {test} needs two GPUs, and there is {devices[0].target} only")
        if test == "pcie" and not devices[0].is_cuda:
            raise UnavailableError("--only pcie needs a GPU: a CPU has no PCIe to its own memory")


def main() -> None:
    """Run the command as a program of its own, with errors in one sentence."""
    try:
        sys.exit(command.main(prog_name="kernels_bench", standalone_mode=False))
    except click.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error = InputError(usage_sentence(error)) if isinstance(error, click.UsageError) else error
        error.show()
        sys.exit(error.exit_code)
