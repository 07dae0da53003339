"""`engine_probe suite`: measure the programme of a whole document, and report it in the document's order."""

import sys
from pathlib import Path

import click

from engine_probe.commands.options import measuring_options
from engine_probe.commands.options.engine_options import GroupedCommand
from engine_probe.commands.options.measuring_options import engine, output, what
from engine_probe.commands.options.result_location import new_folder
from engine_probe.errors import InputError


@click.command("suite", cls=GroupedCommand, epilog="Example: engine_probe suite l4 --model tiny --dry-run")
@click.argument("name", required=False)
@what("--list", "list_only", is_flag=True, help="List the shipped suites and their sweeps.")
@what("--dry-run", is_flag=True, help="Show every sweep: points, KV pool, time, and what this machine lacks for it.")
@measuring_options.like
@measuring_options.device
@what("--only", multiple=True, metavar="SWEEP", help="Measure this sweep of the suite only. May be repeated.")
@what(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a key of every sweep: workload.output_len=8. A list makes an axis. May be repeated.",
)
@engine("--model", metavar="MODEL", help="Measure this model instead of those of the sweeps.")
@measuring_options.ray
@measuring_options.twin
@measuring_options.force
@output("--out", metavar="FOLDER", help="New folder [default: runs/<name>-<time>].")
@output("--resume", metavar="FOLDER", help="Continue the suite in this folder; complete sweeps are kept.")
@measuring_options.verbose
def command(
    name: str | None,
    list_only: bool,
    dry_run: bool,
    like: Path | None,
    device: str | None,
    only: tuple[str, ...],
    settings: tuple[str, ...],
    model: str | None,
    twin: str | None,
    address: str | None,
    force: bool,
    out: str | None,
    resume: str | None,
    verbose: bool,
) -> None:
    """Measure all sweeps of the suite NAME one after the other, and write one report in the document's order.

    NAME is a shipped suite or a TOML file. A sweep that cannot be measured here (no GPU, too little memory, a missing
    checkpoint) is named with its reason, and the others are measured. Each sweep has a folder of its own, so `report`,
    `compare` and `sweep --resume` take it like any other. With --twin all of it is predicted, without the hardware.
    """
    if list_only:
        list_suites()
        return
    if address is not None:
        check_fleet(address, twin, device, like)
    if device is not None and not dry_run:
        raise InputError(f"--device {device} is for --dry-run: a suite runs on the GPUs that are here")
    if resume is not None:
        check_resume(name, out, bool(only or settings or model or dry_run or twin))
        from engine_probe.commands.sweep.suite.measure import go_on

        sys.exit(go_on(Path(resume), address, force, verbose))
    if name is None:
        raise InputError("name a suite: engine_probe suite --list shows those that are shipped")
    from engine_probe.commands.sweep.suite.suite_argument import read

    state, found = read(name, settings, model, only, twin)
    if dry_run:
        from engine_probe.commands.sweep.suite.dry_run import show

        show(state, found, like, device, address)
        return
    from engine_probe.commands.sweep.suite.measure import start

    sys.exit(start(state, found, Path(out or new_folder(name)), address, force, verbose))


def check_fleet(address: str, twin: str | None, device: str | None, like: Path | None) -> None:
    """Refuse what is not for the machines of a fleet."""
    if twin is not None:
        raise InputError(f"--twin {twin} predicts on this machine: leave --ray {address} out")
    if device is not None or like is not None:
        name = f"--device {device}" if device else f"--like {like}"
        raise InputError(f"{name} predicts times, and those of the fleet's machines are not known: leave it out")


def check_resume(name: str | None, out: str | None, changed: bool) -> None:
    """Refuse what a suite that goes on cannot take: it is measured as it was begun."""
    if name is not None:
        raise InputError(f"--resume goes on with the suite in the folder: leave {name} out")
    if out is not None:
        raise InputError("--resume and --out are both given: resuming writes to the same folder, so leave --out out")
    if changed:
        raise InputError(
            "--resume goes on with the suite as it was begun: leave --only, --set, --model, --twin and --dry-run out"
        )


def list_suites() -> None:
    from engine_probe.sweep.suite.suite_file import find_suite, name_of, read_suite, shipped_suites

    for shipped in shipped_suites():
        suite = read_suite(find_suite(shipped))
        click.echo(f"{shipped}: {suite.title}")
        for section in suite.sections:
            click.echo(f"  {section.title}: {', '.join(map(name_of, section.asked))}")
