"""The option `--html FILE` of commands that show results."""

from engine_probe.commands.options.engine_options import under
from kernels_bench.options import FILE

option = under("Output")(
    "--html",
    "page",
    metavar="FILE",
    type=FILE,
    help="Write one self-contained page; - is standard output.",
)
