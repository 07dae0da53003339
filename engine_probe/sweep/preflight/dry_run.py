"""What `--dry-run` shows: the points, what they ask of the KV pool, and how long they will take."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from engine_probe.engine.models.geometry import GIB
from engine_probe.sweep.definition.perplexity_points import texts
from engine_probe.sweep.definition.sweep_file import Point, SweepFile, WorkloadSection, points
from engine_probe.sweep.preflight.duration_estimate import Estimate, engine_start, estimate, measured_bandwidth
from engine_probe.sweep.preflight.earlier_sweeps import Past
from engine_probe.sweep.preflight.memory_fit import exceeds_host, pool_tokens, tokens_at_once
from engine_probe.sweep.preflight.request_count import requests_of
from engine_probe.workload.prompts import Conversations, SharedPrefix

MINUTE, HOUR = 60, 3600
TITLES = ("id", "point", "requests", "tokens in\nand out", "KV\ntokens", "of the\npool", "time,\npredicted")
AT_LEAST = (
    "≥: no less than reading all weights in each step takes, at the memory bandwidth measured here, nor than until the "
    "last request can be asked."
)


def show_points(
    sweep: SweepFile, past: Sequence[Past], where: Path | None, hardware: dict[str, Any], console: Console
) -> None:
    found, predicted = points(sweep), texts(sweep)
    bandwidth = measured_bandwidth(hardware)
    host_bytes = None if where is None or hardware.get("gpus") else hardware["host"]["memory_bytes"]
    too_large = {point.key for point in found if host_bytes is not None and exceeds_host(point, host_bytes)}
    possible = [point for point in found if point.key not in too_large]
    # Of a fleet nothing here says how fast it is.
    guesses = {} if where is None else {point.key: estimate(point, past, bandwidth) for point in possible}
    models = list(dict.fromkeys(point.engine.model for point in found))
    rows = []
    for point in found:
        time = "cannot run" if point.key in too_large else time_cell(guesses.get(point.key))
        rows.append([point.key, point.label, *cells(point, past), time])
    rows += [[text.key, text.label, *["-"] * (len(TITLES) - 2)] for text in predicted]
    filled = [number for number in range(len(TITLES)) if any(row[number] != "-" for row in rows)]
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for number in filled:
        if TITLES[number] == "point":
            table.add_column("point", overflow="fold")
        else:
            table.add_column(TITLES[number], justify="right" if number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(row[number] for number in filled))
    if len(models) == 1:  # of several each label says which
        console.print(f"Model: {models[0]}", soft_wrap=True)
    console.print(table)
    engines = [len(list(group)) for _, group in groupby(found, key=lambda point: point.engine.spec)]
    console.print(
        f"{counted(len(found), 'point')} on {counted(len(engines), 'engine')}"
        + (", of which a search takes as many loads as it needs." if sweep.adaptive else ".")
    )
    if sweep.quality is not None:
        told = f"{sweep.quality.text} in windows of {sweep.quality.window:,} tokens; its time is not predicted"
        console.print(f"After its points each engine predicts a text: {told}.", soft_wrap=True)
    for line in said(possible, [guesses.get(point.key) for point in possible], past, where, len(engines), sweep):
        console.print(line)
    if bandwidth and bandwidth.doubts and any(guess and guess.basis == "at least" for guess in guesses.values()):
        console.print(
            f"The bandwidth behind ≥ is {bandwidth.bytes_per_second / 1e9:.3g} GB/s: {'; '.join(bandwidth.doubts)}. "
            "If it was measured too low, the least time is shorter."
        )
    if host_bytes is not None and too_large:
        console.print(
            f"{counted(len(too_large), 'point')} cannot run here: the weights take more than this machine's "
            f"{host_bytes / GIB:.1f} GiB of memory, and it has no GPU."
        )
    for line in not_here(found, sweep):
        console.print(line, soft_wrap=True)


def not_here(found: Sequence[Point], sweep: SweepFile) -> list[str]:
    """Files that a run would refuse to begin without."""
    asked = dict.fromkeys(getattr(point.workload.prompts, "path", None) for point in found)
    named = [("workload.prompts.path", path) for path in asked if path is not None]
    named += [("quality.text", sweep.quality.text)] if sweep.quality else []
    return [
        f"There is no file {path} here: a run needs it; name your own with --set {name}=FILE."
        for name, path in named
        if not Path(path).expanduser().is_file()
    ]


def said(
    found: Sequence[Point],
    estimates: Sequence[Estimate | None],
    past: Sequence[Past],
    where: Path | None,
    engines: int,
    sweep: SweepFile,
) -> list[str]:
    """The sum, what it rests on, and what is not known."""
    if where is None:
        return ["Without times: nothing here says how fast the machines of the fleet are."]
    known = [guess for guess in estimates if guess is not None]
    lines = []
    if known and not sweep.adaptive:
        total = sum(guess.seconds for guess in known)
        at_least = "at least " if any(guess.basis == "at least" for guess in known) else ""
        start = engine_start(found, past)
        starting = f", and {counted(engines, 'engine start')} of about {duration(start)}" if start else ""
        starting = starting or "; starting engines comes on top"
        lines.append(f"Predicted: {at_least}{duration(total)} for {len(known)} of {len(found)} points{starting}.")
    if any(guess.basis == "at least" for guess in known):
        lines.append(AT_LEAST)
    if any(guess.basis != "at least" for guess in known):
        lines.append(f"~: estimated from earlier sweeps of this engine on such hardware, in {where}.")
    if len(known) < len(found):
        lines.append(
            f"{counted(len(found) - len(known), 'point')} without a time: no earlier sweep in {where} measured this "
            "engine near this load (--like FOLDER looks elsewhere), and no bound follows from the memory bandwidth "
            "(`engine_probe validate` measures it; small models are not bound by it)."
        )
    return lines


def cells(point: Point, past: Sequence[Past]) -> list[str]:
    work = point.workload
    pool = pool_tokens(point) or pool_before(point, past)
    asked = None if work.in_flight is None else tokens_at_once(point, work.in_flight)
    share = "-" if pool is None or asked is None else f"{asked / pool:.0%}"
    return [length(requests_of(work)), lengths(work), length(asked), share]


def lengths(work: WorkloadSection) -> str:
    """Of what is asked and answered, as far as it is one number."""
    answer, asked = length(work.output_len), work.prompts
    if isinstance(asked, Conversations):
        turns = f"{length(asked.turns)} x ({length(asked.input_len)} + {answer})"
        return f"{asked.system_len:,} + {turns}" if asked.system_len else turns
    if isinstance(asked, SharedPrefix):
        return f"{asked.prefix_len:,} + {length(asked.input_len)} + {answer}"
    return f"{length(work.input_len if asked is None else None)} + {answer}"


def pool_before(point: Point, past: Sequence[Past]) -> int | None:
    """What this engine's pool held when it ran here."""
    return next((one.kv_tokens for one in past if one.point.engine.spec == point.engine.spec), None)


def length(tokens: object) -> str:
    return f"{tokens:,}" if isinstance(tokens, int) else "-" if tokens is None else "drawn"


def time_cell(guess: Estimate | None) -> str:
    if guess is None:
        return "-"
    return f"{'≥' if guess.basis == 'at least' else '~'} {duration(guess.seconds)}"


def duration(seconds: float) -> str:
    if seconds < MINUTE:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    if seconds < HOUR:
        return f"{seconds / MINUTE:.0f} min" if seconds >= 10 * MINUTE else f"{seconds / MINUTE:.1f} min"
    return f"{seconds / HOUR:.1f} h"


def counted(number: int, name: str) -> str:
    return f"{number} {name}" if number == 1 else f"{number} {name}s"
