"""The option `--html FILE` of commands that show results."""

from pathlib import Path

import click

from engine_probe.commands.options.engine_options import under

option = under("Output")(
    "--html",
    "page",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write one self-contained page; - is standard output.",
)
