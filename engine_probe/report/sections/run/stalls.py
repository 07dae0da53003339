"""Stalls of a run: how many and why, their durations over time, and each with its cause."""

from collections.abc import Callable, Iterable, Iterator

from engine_probe.analysis.step.expected_time import FEWEST
from engine_probe.analysis.step.stalls import MOST, SPREADS, TIMES_EXPECTED, Stalls
from engine_probe.recordings.run import Run
from engine_probe.report.charts.run import origin_ns
from engine_probe.report.document import Picture, Section, Sentence, Table, says, table
from engine_probe.text_format import capitalized, counted, duration, percent

WORTH_A_CAUTION = 0.01  # of the busy time lost to stalls
MOST_ROWS, FIRST_ROWS = 100, 5
RULE = (
    f"A stalled step took at least {TIMES_EXPECTED:g} times what steps like it took (their median), and at least "
    f"{SPREADS:g} of their robust standard deviations more. Like steps are of the same kind (prompts, decoding only, "
    "no tokens) and nearest in tokens scheduled and held. A cause is named if it can explain at least "
    f"{MOST:.0%} of the excess."
)


def stalls_section(run: Run, found: Stalls, charts: Callable[[], Iterable[Picture]] = tuple) -> Section:
    return Section(
        "Stalls",
        sentences=(stalls_verdict(found), *says(reservations(run, found), "soft")),
        charts=charts,
        tables=(stall_table(run, found),) if found.table.num_rows else (),
        details=(Section("What is a stall?", sentences=says([RULE])),),
    )


def stalls_verdict(found: Stalls) -> Sentence:
    if not found.judged:
        return Sentence(f"No step could be judged: fewer than {FEWEST} steps of each kind.")
    number, share = found.table.num_rows, found.excess_ns / found.busy_ns if found.busy_ns else 0.0
    if not number:
        return Sentence(f"None of {counted(found.judged, 'step')} stalled.")
    causes = ", ".join(f"{cause} {count:,} ({duration(ns)})" for cause, (count, ns) in found.by_cause.items())
    text = (
        f"{number:,} of {counted(found.judged, 'step')} stalled, for {duration(found.excess_ns)} beyond what was "
        f"expected ({percent(share)} of the busy time): {causes}."
    )
    return Sentence(text, "caution" if share >= WORTH_A_CAUTION else "plain")


def reservations(run: Run, found: Stalls) -> Iterator[str]:
    """Name what could not be judged and which causes could not be seen."""
    if found.judged and found.not_judged:
        yield f"{counted(found.not_judged, 'step')} could not be judged: fewer than {FEWEST} steps of their kind."
    if not found.table.num_rows:
        return
    if not run.has_host_events:
        yield "This recording is older than the table host_events: of all causes only a late worker could be seen."
    elif run.facts.get("telemetry", {}).get("period_seconds") is None:
        yield "Page faults and waits for a processor were not recorded, because telemetry was off."


def stall_table(run: Run, found: Stalls) -> Table:
    """Return the stalls, the largest excess first."""
    origin = origin_ns(run)
    stalled = found.table.sort_by([("excess_ns", "descending"), ("iteration", "ascending")])
    rows = [
        (
            f"{row['iteration']:,}",
            f"{(row['start_ns'] - origin) / 1e9:.3f} s",
            duration(row["duration_ns"]),
            duration(row["expected_ns"]),
            row["cause"],
            duration(row["explained_ns"]) if row["explained_ns"] else "-",
            capitalized(row["detail"]),
        )
        for row in stalled.slice(0, MOST_ROWS).to_pylist()
    ]
    note = (
        f"The {MOST_ROWS} longest of {stalled.num_rows:,}; run.stalls has all." if len(rows) < stalled.num_rows else ""
    )
    return table(
        ("step", "at", "took", "expected", "cause", "explains", "detail"),
        rows,
        words=(4, 6),
        note=note,
        first=FIRST_ROWS,
    )
