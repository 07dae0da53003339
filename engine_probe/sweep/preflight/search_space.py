"""What `--dry-run` shows of a search over engine arguments: its space, how many points, and how long they will take."""

from pathlib import Path

from rich.console import Console

from engine_probe.report.renderers.plain_table import plain_table
from engine_probe.sweep.argument_search.search_checks import limits_of
from engine_probe.sweep.argument_search.space import ArgumentSearch
from engine_probe.sweep.definition.sweep_file import Point, SweepFile
from engine_probe.sweep.preflight.duration_estimate import Estimate
from engine_probe.sweep.preflight.recorded_prices import unknown_speed
from engine_probe.text_format import long_duration


def show_search(
    sweep: SweepFile,
    base: Point,
    guess: Estimate | None,
    start_seconds: float | None,
    where: Path | None,
    console: Console,
) -> None:
    """Print the space and the points; `guess` and `start_seconds` are of the baseline, None where not known."""
    search = sweep.search
    assert search is not None
    space = plain_table()
    space.add_column("argument")
    space.add_column("values", overflow="fold")
    space.add_column("how many", justify="right")
    for name, span in search.arguments.items():
        space.add_row(name, span.words, "-" if span.count is None else f"{span.count:,}")
    console.print(space)
    console.print(points_line(sweep, search), soft_wrap=True)
    if sweep.adaptive is not None:
        console.print("No time: how many loads a trial measures follows from what it finds.")
    elif guess is not None:
        console.print(time_line(search, guess, start_seconds), soft_wrap=True)
    elif where is not None:
        console.print(f"No time: {unknown_speed(base.engine.spec, where)}", soft_wrap=True)


def points_line(sweep: SweepFile, search: ArgumentSearch) -> str:
    slo, loads = limits_of(sweep), sweep.adaptive
    within = f" that meets {slo.words}" if slo else ""
    known = "any number of" if search.settings is None else f"{search.settings:,}"
    repeats = f" and {2 * search.confirm} repeats of the first and the best" if search.confirm else ""
    asked = (
        f"A search over {known} settings for the highest {search.objective}{within}: {search.trials} trials{repeats}"
    )
    if loads is None:
        replaced = f"a setting that cannot run is replaced by another one, {search.most_failed} times at most"
        return f"{asked}, {search.points} points, each on an engine of its own; {replaced}."
    return (
        f"{asked}, each on an engine of its own. Each trial searches {loads.axis} from {loads.first} to {loads.last}; "
        "repeats are at the best load alone."
    )


def time_line(search: ArgumentSearch, guess: Estimate, start_seconds: float | None) -> str:
    bound = "at least " if guess.is_bound else ""
    starts = f"; {search.points} engine starts, which were not measured here, come on top"
    if start_seconds is not None:
        starts = f", and {search.points} engine starts of about {long_duration(start_seconds)}"
    total, each = long_duration(guess.seconds * search.points), long_duration(guess.seconds)
    return f"Predicted: {bound}{total}, if each point takes {each} as the baseline does{starts}."
