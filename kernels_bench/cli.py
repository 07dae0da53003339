"""`python -m kernels_bench`: what is asked for is checked first, then measured, then judged.

Exit codes: 0 fine, 1 a verdict is FAIL, 2 wrong input, 3 could not run or a figure is INVALID.
"""

from __future__ import annotations

from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kernels_bench.errors import InputError, UnavailableError
from kernels_bench.names import BETWEEN, TESTS

if TYPE_CHECKING:
    from kernels_bench.results import Device


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--device", "wanted", help="cpu, all, or cards such as cuda:0,1 [default: every card, else the cpu].")
@click.option("--only", help=f"Some of the tests, with commas: {', '.join(TESTS)}.")
@click.option("--quick", is_flag=True, help="Under a minute per device: shorter rounds, fewer shapes.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the report with every sample.")
@click.option(
    "--baseline", "baseline_path", type=click.Path(path_type=Path), help="Compare with a file that --json wrote."
)
@click.option(
    "--tolerance",
    type=click.FloatRange(0, 100, min_open=True),
    default=5.0,
    show_default=True,
    help="Percent by which a figure may lie behind its baseline, or a card behind its equals.",
)
@click.option("--ray", "address", help="Every machine of a Ray cluster at once: auto, or HOST:PORT of its head.")
@click.pass_context
def command(
    context: click.Context,
    wanted: str | None,
    only: str | None,
    quick: bool,
    json_path: Path | None,
    baseline_path: Path | None,
    tolerance: float,
    address: str | None,
) -> None:
    """Measure this hardware and say whether it is what was paid for.

    Ends with 1 when a verdict is FAIL, with 3 when a figure is INVALID, else with 0.
    """
    tests = chosen_tests(only)
    if address is not None:
        context.exit(on_a_fleet(address, wanted, only, quick, json_path, baseline_path, tolerance))
    if find_spec("torch") is None:
        raise UnavailableError("torch is not installed, and every figure comes from it: pip install torch")
    from kernels_bench import ceilings, files, report, screen, suite
    from kernels_bench.devices import find_devices

    if json_path:
        files.check_writable(json_path)
    saved = files.Baseline(files.read_report(baseline_path), baseline_path) if baseline_path else None
    devices = find_devices(wanted)
    check_possible(only, tests, devices)
    for device in devices:
        if saved:
            saved.check_covers(device.name)
    wish = suite.Wish(devices, tests, quick, tolerance / 100, saved)
    with screen.Screen() as shown:
        done = suite.run(wish, shown)
    if json_path:
        files.write_report(done, json_path)
    report.show(done)
    stored = ceilings.store(done)
    if stored:
        click.echo(f"Ceilings for later runs on this hardware: {', '.join(map(str, stored))}", err=True)
    context.exit(report.exit_code(done))


def on_a_fleet(
    address: str,
    wanted: str | None,
    only: str | None,
    quick: bool,
    json_path: Path | None,
    baseline_path: Path | None,
    tolerance: float,
) -> int:
    from kernels_bench import files, fleet, fleet_report, fleet_results

    if json_path:
        files.check_writable(json_path)
    if baseline_path:
        files.read_report(baseline_path)
    arguments = ("--tolerance", str(tolerance), *(("--only", only) if only else ()), *(("--quick",) if quick else ()))
    saved = baseline_path.read_bytes() if baseline_path else None
    asked = fleet.Asked(wanted, arguments, tolerance / 100, saved)
    done = fleet.run(address, asked, lambda text: click.echo(text, err=True))
    if json_path:
        files.write_report(done, json_path)
    fleet_report.show_fleet(done)
    return fleet_results.fleet_exit_code(done)


def chosen_tests(only: str | None) -> tuple[str, ...]:
    """In the order of TESTS, whatever order they were named in."""
    if only is None:
        return tuple(TESTS)
    names = [name.strip() for name in only.split(",")]
    for name in names:
        if name not in TESTS:
            near = get_close_matches(name, TESTS, 1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(TESTS)}"
            raise InputError(f'--only names "{name}", which is no test: {hint}')
    return tuple(name for name in TESTS if name in names)


def check_possible(only: str | None, tests: tuple[str, ...], devices: tuple[Device, ...]) -> None:
    """A test that was asked for by name and takes two cards is not silently left out."""
    if only is None:
        return
    for test in tests:
        if test in BETWEEN and len(devices) < 2:
            raise UnavailableError(f"--only {test} takes two cards, and there is {devices[0].target} only")
        if test == "pcie" and not devices[0].is_cuda:
            raise UnavailableError("--only pcie takes a card: a processor has no PCIe to its own memory")


def main() -> None:
    command(prog_name="kernels_bench")
