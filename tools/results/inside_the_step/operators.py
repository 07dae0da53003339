"""The section on operators of docs/results/inside_the_step.md: what a window shows."""

from collections.abc import Iterator

from engine_probe import Run
from engine_probe.analysis.step.operators import OperatorTimes
from engine_probe.record.run_json import operator_window
from engine_probe.text_format import duration
from tools.result_page import measured_here, table

SECTION = "## Operators\n"
WINDOW, TOKENS = operator_window("20@40"), 90
MOST_NAMES = 8


def operator_lines(model: str, run: Run) -> Iterator[str]:
    found = run.analysis().operators
    assert found is not None
    yield SECTION
    yield "    python -m tools.results.inside_the_step --only operators --write\n"
    yield f"{measured_here(f'{model}, eager,')}. A window of {WINDOW.steps} steps from step {WINDOW.first} on.\n"
    yield from shown(found, run)
    yield "![The section of the report](../pictures/operators.png)\n"


def shown(found: OperatorTimes, run: Run) -> Iterator[str]:
    """Say what the last window shows."""
    yield (
        f"**Where the forward's time goes.** {duration(found.forward_ns)} in an average step of "
        f"{found.mean_running:.0f} requests, which the kinds and the gaps add up to:\n"
    )
    kinds = ((kind, f"{found.share(kind):.1%}", duration(ns)) for kind, ns in found.kinds.items())
    yield from table(("kind", "share", "of a step"), kinds)
    layers = ", ".join(f"{name} {sum(kinds.values()) / found.forward_ns:.0%}" for name, kinds in found.layers.items())
    yield f"\nBy layer: {layers}.\n"
    longest = (
        (f"`{each.name}`", each.kind, f"{each.calls:g}", duration(each.ns)) for each in found.longest[:MOST_NAMES]
    )
    yield from table(("operator", "kind", "calls", "of a step"), longest, words=(0, 1))
    forwards = run.workers["forward_ns"].to_numpy()[WINDOW.first : WINDOW.last + 1]
    yield (
        f"\nThe worker's own clock says {duration(float(forwards.mean()))} for these forwards. The window has "
        f"{run.operators.num_rows:,} rows and {run.operator_slices.num_rows:,} slices.\n"
    )
