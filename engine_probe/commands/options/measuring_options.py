"""Options that commands which start engines, or predict what they would do, share."""

from engine_probe.commands.options.engine_options import ENGINE, under
from kernels_bench.options import FILE

what, engine, output = map(under, ("What is measured", ENGINE, "Output"))

like = what(
    "--like",
    metavar="FOLDER",
    type=FILE,
    help="With --dry-run: predict times from the earlier sweeps in this folder [default: runs].",
)
device = what(
    "--device",
    metavar="GPU",
    help='With --dry-run: predict memory and times for this GPU by its datasheet, such as "H100 NVL".',
)
ray = engine(
    "--ray", "address", metavar="ADDRESS", help="Run engines in parallel on a Ray cluster: auto, local or HOST:PORT."
)
twin = engine(
    "--twin",
    metavar="FOLDER|FILE|GPU",
    help="Predict instead of measuring: vLLM's scheduler on a virtual clock, with step times from the recordings of a "
    "run or a sweep, from the kernels in a FILE of `validate --json`, or the least times by the datasheet of a GPU.",
)
force = engine("--force", is_flag=True, help="Use an unsupported vLLM version anyway.")
verbose = output("--verbose", "-v", is_flag=True, help="Also stream vLLM's log (always saved to engine.log).")
