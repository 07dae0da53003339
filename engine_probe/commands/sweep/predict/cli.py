"""`engine_probe predict`: what a recorded run would have done under other settings of the scheduler."""

from __future__ import annotations

import sys
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine_probe.commands.options import reading_options
from engine_probe.commands.options.engine_options import GroupedCommand, under
from engine_probe.commands.options.result_location import make_folder, recorded
from kernels_bench.options import FILE

if TYPE_CHECKING:
    from engine_probe.commands.sweep.predict.alternatives import Alternatives

what, output = map(under, ("What is predicted", "Output"))


@click.command(
    "predict", cls=GroupedCommand, epilog="Example: engine_probe predict runs/serving --set max_num_seqs=[64,128]"
)
@click.argument("folder", type=recorded)
@what(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change this setting of the scheduler: max_num_seqs=64. A list predicts each of its values. May be repeated.",
)
@what(
    "--times",
    "times_from",
    type=recorded,
    metavar="FOLDER",
    help="Take step times from this run or sweep of the same engine, at more loads [default: the run itself].",
)
@what("--verify", is_flag=True, help="Then run the engine here, unchanged and changed, and show the measured change.")
@what("--force", is_flag=True, help="Use an unsupported vLLM version anyway.")
@output("--out", metavar="FOLDER", help="New folder [default: runs/predict-<time>].")
@output(
    "--json",
    "json_file",
    metavar="[FILE]",
    type=FILE,
    is_flag=False,
    flag_value="-",
    help="Write the figures as JSON, on standard output or to a file.",
)
@reading_options.html
def command(
    folder: Path,
    settings: tuple[str, ...],
    times_from: Path | None,
    verify: bool,
    force: bool,
    out: str | None,
    json_file: Path | None,
    page: Path | None,
) -> None:
    """Predict what the recorded run in FOLDER would have been under other settings of the scheduler.

    vLLM's scheduler gets the same requests at the same times, with the recorded pool and limits, on a virtual clock;
    steps take what the recorded ones took. The run is predicted unchanged as well: how far that lies from the recording
    is the model's own error.
    """
    from engine_probe.commands.sweep.predict.alternatives import alternatives, check_here
    from engine_probe.files.new_file import check_free
    from engine_probe.hook.vllm_versions import check_version

    check_free(page, json_file)
    found = alternatives(folder, settings, times_from)
    check_version(force)
    if verify:
        check_here(found.run)
    place = Path(out or str(Path("runs") / f"predict-{datetime.now():%Y%m%dT%H%M%S}"))
    with closing(make_folder(place)):
        predict(found, place, verify, force, json_file, page)
    sys.exit()


def predict(
    found: Alternatives, place: Path, verify: bool, force: bool, json_file: Path | None, page: Path | None
) -> None:
    """Run every prediction and, with `verify`, the real engine; show what they came to."""
    import json

    from engine_probe.commands.options.console import PIPED_WIDTH, output_console
    from engine_probe.commands.sweep.predict.runs import run_all
    from engine_probe.files.new_file import fresh_file
    from engine_probe.report.renderers.html_document import html_page
    from engine_probe.report.renderers.terminal import print_document
    from engine_probe.report.what_if_document import what_if_document, what_if_json

    what_if = run_all(found, place, verify, force)
    document = what_if_document(what_if)
    if json_file is not None:
        with fresh_file(json_file) as file:
            file.write(json.dumps(what_if_json(what_if), indent=1).encode() + b"\n")
    if page is not None:
        with fresh_file(page) as file:
            file.write(html_page(document).encode())
    if Path("-") not in (json_file, page):
        console = output_console(PIPED_WIDTH)
        print_document(document, console)
        runs = (what_if.recorded, what_if.unchanged, *what_if.changed.values(), *what_if.measured.values())
        folders = " ".join(f"'{run.folder}'" if "=" in str(run.folder) else str(run.folder) for run in runs)
        console.print(f"Every latency: engine_probe compare {folders}", soft_wrap=True, style="dim", markup=False)
