"""`engine_probe suite --dry-run`: what every sweep asks of this machine, by section."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.table import Table

from engine_probe.commands.options.console import PIPED_WIDTH, output_console
from engine_probe.recordings.suite import SuiteState
from engine_probe.report.renderers.plain_table import plain_table
from engine_probe.sweep.preflight.target import target_of
from engine_probe.sweep.suite.forecast import SweepForecast, forecast
from engine_probe.sweep.suite.plan import PlannedSweep
from engine_probe.text_format import byte_size, counted, long_duration, plain

TITLES = ("sweep", "points", "weights", "KV\ntokens", "KV\npool", "of the\npool", "time", "here")


def show(
    state: SuiteState, found: Sequence[PlannedSweep], like: Path | None, device: str | None, address: str | None = None
) -> None:
    """Print a row for each sweep, then why some cannot be measured, and the time of the others."""
    console = output_console(PIPED_WIDTH)
    target = target_of(like, device, address)
    forecasts = {each.state.name: forecast(each.sweep, target) for each in found if each.sweep is not None}
    shown = [cells(forecasts.get(each.state.name)) for each in found]
    filled = [place for place in range(len(TITLES) - 1) if any(row[place] != "-" for row in shown)]
    console.print(plain(state.shown_title), style="bold", markup=False)
    for number, section in enumerate(state.sections):
        rows = [each for each in found if each.state.section == number]
        if rows:
            console.print(f"\n{plain(section.title)}", markup=False)
            console.print(section_table(rows, forecasts, filled))
    for line in reasons(found, forecasts):
        console.print(line, soft_wrap=True, markup=False)
    where = f"on {target.gpu.name}" if target.gpu and device else "here" if address is None else "on this fleet"
    console.print(total(list(forecasts.values()), len(found), where, state), soft_wrap=True)
    more = f' --device "{device}"' if device else f" --ray {address}" if address else ""
    console.print(f"The points of a sweep: engine_probe sweep NAME --dry-run{more}", style="dim", markup=False)


def section_table(rows: Sequence[PlannedSweep], forecasts: dict[str, SweepForecast], filled: Sequence[int]) -> Table:
    """Return a row for each sweep of a section; `filled` are the cells that are not empty in all sections."""
    table = plain_table()
    table.add_column(TITLES[0], no_wrap=True)
    for place in filled:
        table.add_column(TITLES[place + 1], justify="left" if place == len(TITLES) - 2 else "right", no_wrap=True)
    for each in rows:
        found = cells(forecasts.get(each.state.name))
        table.add_row(plain(each.state.name), *(found[place] for place in filled))
    return table


def cells(found: SweepForecast | None) -> list[str]:
    if found is None:
        return ["-"] * (len(TITLES) - 2) + ["no"]
    possible = "no" if found.against else "in part" if found.missing else "yes"
    return [
        f"{found.points:,}",
        "-" if found.weights_bytes is None else byte_size(found.weights_bytes),
        "-" if found.kv_tokens is None else f"{found.kv_tokens:,}",
        "-" if found.pool_tokens is None else f"~{found.pool_tokens:,}",
        "-" if found.pool_share is None else f"{found.pool_share:.0%}",
        "-" if found.against else time_words(found),
        possible,
    ]


def time_words(found: SweepForecast) -> str:
    if found.seconds is None:
        return "-"
    return f"{'≥' if found.is_bound or found.untimed else '~'} {long_duration(found.seconds)}"


def reasons(found: Sequence[PlannedSweep], forecasts: dict[str, SweepForecast]) -> Iterator[str]:
    """Yield each reason once, with the sweeps that it is of."""
    by_reason: dict[str, list[str]] = {}
    for each in found:
        name = each.state.name
        known = forecasts.get(name)
        lines = (each.state.reason,) if known is None else (known.against,) if known.against else known.missing
        for line in lines:
            by_reason.setdefault(line, []).append(name)
    yield from ("", *(plain(f"{', '.join(names)}: {reason}") for reason, names in by_reason.items()))


def total(found: Sequence[SweepForecast], asked: int, where: str, state: SuiteState) -> str:
    """Say how many sweeps can be measured, and how long those with a known time take; or can be predicted."""
    possible = [each for each in found if not each.against]
    timed = [each for each in possible if each.seconds is not None]
    counts = f"{len(possible)} of {counted(asked, 'sweep')} can be {state.how} {where}"
    if state.twin is not None:
        return f"{counts}."
    if not timed:
        return f"{counts}; no time is known (earlier sweeps on this hardware, or `engine_probe validate`, give one)."
    bound = "at least " if len(timed) < len(possible) or any(each.is_bound or each.untimed for each in timed) else ""
    spent = long_duration(sum(each.seconds or 0.0 for each in timed))
    return f"{counts}. Predicted: {bound}{spent} for {counted(len(timed), 'sweep')} of them."
