"""`engine_probe predict`: what a recorded run would have done under other settings of the scheduler."""

from __future__ import annotations

import shlex
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine_probe.commands.options import reading_options
from engine_probe.commands.options.engine_options import GroupedCommand, under
from engine_probe.commands.options.result_location import make_folder, new_folder, recorded
from engine_probe.text_format import plain

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
@reading_options.html
@reading_options.json_figures
def command(
    folder: Path,
    settings: tuple[str, ...],
    times_from: Path | None,
    verify: bool,
    force: bool,
    out: str | None,
    figures: Path | None,
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

    check_free(page, figures)
    found = alternatives(folder, settings, times_from)
    check_version(force)
    if verify:
        check_here(found.run)
    place = Path(out or new_folder("predict"))
    with closing(make_folder(place)):
        predict(found, place, verify, force, figures, page)
    sys.exit()


def predict(
    found: Alternatives, place: Path, verify: bool, force: bool, figures: Path | None, page: Path | None
) -> None:
    """Run every prediction and, with `verify`, the real engine; show what they came to."""
    from engine_probe.commands.options.document_output import json_file, page_file, show_document
    from engine_probe.commands.sweep.predict.runs import run_all
    from engine_probe.report.what_if_document import what_if_document, what_if_json

    what_if = run_all(found, place, verify, force)
    document = what_if_document(what_if)
    runs = (what_if.recorded, what_if.unchanged, *what_if.changed.values(), *what_if.measured.values())
    compared = shlex.join(["engine_probe", "compare", *(str(run.folder) for run in runs)])
    files = json_file(figures, lambda: what_if_json(what_if)), page_file(page, lambda: document)
    if show_document(document, *files):
        click.echo(f"\nEvery latency: {plain(compared)}")
