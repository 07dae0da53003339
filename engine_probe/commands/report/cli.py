"""`engine_probe report`: what a recording or a sweep says, in the terminal and as a page."""

from typing import Any

import click

from engine_probe.commands.options import reading_options
from engine_probe.commands.options.engine_options import under
from engine_probe.commands.options.result_location import recorded
from kernels_bench.options import FILE, Number

output, judge, costs = map(under, ("Output", "Criteria", "Costs"))


@click.command("report", cls=reading_options.WithGoodput)
@click.argument("folders", metavar="FOLDER...", nargs=-1, required=True, type=recorded)
@reading_options.html
@reading_options.json_figures
@output(
    "--markdown", "text", metavar="FILE", type=FILE, help="Write Markdown for a pull request; - is standard output."
)
@output("--verbose", is_flag=True, help="Show everything in the terminal: memory, hardware use, statistics.")
@reading_options.goodput
@judge(
    "--goodput-percentile",
    "percentile",
    type=Number(min=50, max=100, max_open=True),
    default=90,
    show_default=True,
    help="Percentage of requests that must meet all limits for a load to pass.",
)
@judge(
    "--score",
    "scores",
    metavar="FILE",
    type=FILE,
    help="Scores of the answers (CSV or JSON): test whether load changes them (sweeps).",
)
@judge("--reference", metavar="NAME|FILE", help="Compare with published figures (sweeps).")
@costs("--money", "prices", metavar="FILE", help="A price list (TOML): cost, revenue, profit, options.")
@costs("--cost-per-hour", metavar="SUM", help="Total cost of the engine per hour: 2.5 or 2.5EUR.")
@costs("--price-per-million", metavar="SUM", help="Price per million output tokens: 0.6 or 0.6EUR.")
def command(**asked: Any) -> None:
    """Summarise a run or sweep, and name its bottleneck and the load at which it begins to limit throughput.

    Several sweeps are reported as one experiment: their curves in common charts, and a sentence for each. A suite is
    reported in the order of its document.

    FOLDER may also be a report file of `engine_probe validate --json`, or a forward-pass trace of NVIDIA Dynamo.
    """
    from engine_probe.commands.report.reports import show_report

    show_report(**asked)
