"""The verdict of a suite: how many of its sweeps are complete, why others are not, and a row for each."""

from collections.abc import Iterator, Sequence

from engine_probe.recordings.suite import COMPLETE, PARTIAL, RUNNING, WAITING, Suite, SweepState
from engine_probe.report.document import Cell, Column, Section, Sentence, Table, Tone, table
from engine_probe.report.sections.load.prediction import VIRTUAL_CLOCK, step_time_source
from engine_probe.text_format import counted, long_duration

TITLES = ("sweep", Column("section", words=True, room="page"), "status", "points", "time", "folder")
TONES: dict[str, Tone] = {COMPLETE: "good", PARTIAL: "caution", RUNNING: "caution", WAITING: "soft"}
WORDS = {RUNNING: "interrupted"}


def suite_verdict(suite: Suite) -> Section:
    """Return how many sweeps are complete, why others are not, and a row for each."""
    rows = suite.state.sweeps
    done = sum(row.status == COMPLETE for row in rows)
    whole = Sentence(f"{done} of {counted(len(rows), 'sweep')} complete.", "good" if done == len(rows) else "caution")
    sentences = (*predicted(suite), whole, *unfinished(rows))
    return Section(sentences=sentences, tables=(sweep_table(suite),), shown="always")


def predicted(suite: Suite) -> Iterator[Sentence]:
    """Say what a suite on twins rests on, and how long it took."""
    if suite.state.twin is not None:
        runs = (run for swept in suite.sweeps.values() for run in swept.runs if run.predicted)
        sources = sorted({step_time_source(run) for run in runs}) or [suite.state.twin]
        took = long_duration(sum(row.seconds for row in suite.state.sweeps))
        text = f"{VIRTUAL_CLOCK} {' and '.join(sources)}; nothing was measured. It took {took}."
        yield Sentence(text, "caution", "Predicted")


def unfinished(rows: Sequence[SweepState]) -> Iterator[Sentence]:
    """Yield a sentence for each reason, with the sweeps that have it."""
    by_reason: dict[str, list[str]] = {}
    for row in rows:
        if row.status != COMPLETE or row.reason:
            reason = row.reason or {RUNNING: "interrupted", WAITING: "not measured yet"}.get(row.status, row.status)
            by_reason.setdefault(reason, []).append(row.name)
    for reason, names in by_reason.items():
        yield Sentence(f"{reason.removesuffix('.')}.", "caution", ", ".join(names))


def sweep_table(suite: Suite) -> Table:
    rows = []
    for row in suite.state.sweeps:
        swept = suite.sweeps.get(row.name)
        measured = sum(bool(point.analysis or point.unprobed) for point in swept.points) if swept else 0
        points = f"{measured} of {len(swept.points)}" if swept else "-"
        section = suite.state.sections[row.section].title
        status = Cell(WORDS.get(row.status, row.status), TONES.get(row.status, "problem"))
        rows.append((row.name, section, status, points, long_duration(row.seconds) if row.seconds else "-", row.folder))
    return table(TITLES, rows, words=(0, 2, 5))
