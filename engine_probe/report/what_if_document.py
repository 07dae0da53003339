"""The report of a what-if: a recorded run, the same predicted as it was, and under other settings."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine_probe.analysis.batch.prediction_interval import figure_of
from engine_probe.analysis.compare.scheduler_decisions import SameDecisions, same_decisions
from engine_probe.analysis.run.summary import Summary
from engine_probe.analysis.statistics.student import Interval
from engine_probe.recordings.run import Run
from engine_probe.report.document import Cell, Column, Document, Section, Table, says
from engine_probe.report.sections.load.prediction import with_prediction
from engine_probe.text_format import milliseconds, rate_words

MANIFOLD = 3.0  # from here on a change is told as a factor
Figure = Callable[[Summary], float | None]


@dataclass(frozen=True)
class Row:
    """One figure of the table: how it is read, and how it is written."""

    title: str
    key: str
    of: Figure
    words: Callable[[float], str]


ROWS = (
    Row("output tokens/s", "output_tokens_per_s", lambda found: found.output_tokens_per_s, rate_words),
    Row("TTFT p50", "ttft_p50_ms", lambda found: found.ttft.p50_ms, milliseconds),
    Row("TTFT p90", "ttft_p90_ms", lambda found: found.ttft.p90_ms, milliseconds),
    Row("TPOT p50", "tpot_p50_ms", lambda found: found.tpot.p50_ms, milliseconds),
    Row("E2EL p50", "e2el_p50_ms", lambda found: found.e2el.p50_ms, milliseconds),
    Row("E2EL p90", "e2el_p90_ms", lambda found: found.e2el.p90_ms, milliseconds),
    Row("running at peak", "peak_running", lambda found: found.peak_running, "{:,.0f}".format),
    Row("waiting at peak", "peak_waiting", lambda found: found.peak_waiting, "{:,.0f}".format),
    Row("KV blocks at peak", "peak_kv_share", lambda found: found.peak_kv_share, "{:.0%}".format),
    Row("preemptions", "preemptions", lambda found: found.preemptions, "{:,.0f}".format),
)


NOTE = (
    "Second lines: unchanged against the recording; a change against the same engine unchanged, predicted against "
    "predicted and measured against measured. ± is where nine of ten measurements of a predicted figure lie: an error "
    "that the unchanged engine has, too, is in it."
)


@dataclass(frozen=True)
class WhatIf:
    """A recorded run and its predictions; `measured` are real runs of the same, where there are any.

    The unchanged engine, measured again, has the name "": its change is that of the machine since the recording.
    """

    recorded: Run
    unchanged: Run
    changed: Mapping[str, Run]
    measured: Mapping[str, Run]
    not_known: Sequence[str] = ()  # of the requests

    def decisions(self) -> SameDecisions:
        return same_decisions(self.recorded.iterations, self.unchanged.iterations)


def what_if_document(found: WhatIf) -> Document:
    names = ", ".join(found.changed) or "nothing changed"
    verdict = Section(
        "",
        sentences=(*says(found.not_known, "caution"), *says(verdict_lines(found))),
        tables=(Table(columns(found), tuple(rows(found)), note=NOTE),),
        shown="always",
    )
    verdict = with_prediction(verdict, [found.unchanged])
    origin = f"the requests of {found.recorded.folder}"
    return Document(f"Predicted: {found.recorded.model_name}, {names}", origin, verdict)


def verdict_lines(found: WhatIf) -> Iterator[str]:
    """Yield the change, the model's own error, and what was measured."""
    base, recorded = (each.summary().output_tokens_per_s for each in (found.unchanged, found.recorded))
    for name, run in found.changed.items():
        rate = run.summary().output_tokens_per_s
        if same_decisions(found.unchanged.iterations, run.iterations).all:
            yield f"With {name} nothing changes: the scheduler decides the same in every step."
        else:
            change = change_words(base, rate)
            yield f"With {name}: {rate_words(rate)} output tokens/s, {change} against the same engine unchanged."
        if name in found.measured:
            again, real = (found.measured[each].summary().output_tokens_per_s for each in ("", name))
            yield (
                f"Measured with {name}: {rate_words(real)}, {change_words(again, real)} against the same engine "
                f"unchanged ({rate_words(again)}), where {change_words(base, rate)} was predicted."
            )
    sides = f"{rate_words(recorded)} recorded and {rate_words(base)} predicted"
    yield f"The run itself: {sides}, {change_words(recorded, base)}: the model's own error."
    yield decision_words(found.decisions())


def decision_words(found: SameDecisions) -> str:
    """Say how far the prediction of the unchanged run decided what the recorded one did."""
    if found.all:
        return f"Unchanged, the scheduler decides the same as in the run in all {found.same:,} steps."
    one, other = found.steps
    return (
        f"Unchanged, the scheduler decides the same as in the run in the first {found.same:,} of {one:,} steps "
        f"({other:,} predicted): arrivals meet other steps, because these take other times."
    )


def columns(found: WhatIf) -> tuple[Column, ...]:
    changed = [
        title
        for name in found.changed
        for title in (f"{name}, predicted", *([f"{name}, measured"] if name in found.measured else []))
    ]
    again = ["unchanged, measured"] if found.measured else []
    titles = ("recorded", "unchanged, predicted", *again, *changed)
    return (
        Column("figure", words=True),
        *(Column(title, short=title.replace("=", "\n= ").replace(", ", ",\n")) for title in titles),
    )


def rows(found: WhatIf) -> Iterator[tuple[Cell | str, ...]]:
    for row in ROWS:
        recorded, unchanged = (row.of(each.summary()) for each in (found.recorded, found.unchanged))
        within = within_words(row, found.unchanged)
        cells: list[Cell | str] = [written(row, recorded), written(row, unchanged, recorded, within)]
        measured = {name: row.of(run.summary()) for name, run in found.measured.items()}
        if measured:
            cells.append(written(row, measured[""], recorded))
        for name, run in found.changed.items():
            cells.append(written(row, row.of(run.summary()), unchanged, within_words(row, run)))
            if name in measured:
                cells.append(written(row, measured[name], measured[""]))
        yield (row.title, *cells)


def written(row: Row, value: float | None, against: float | None = None, within: str = "") -> Cell | str:
    if value is None:
        return "-"
    return Cell(row.words(value) + within, below=change_words(against, value) if against else "")


def within_words(row: Row, run: Run) -> str:
    """Say how far nine of ten measurements may lie from a predicted figure. Empty for counts, and for a recording."""
    found, value = interval_of(row, run), row.of(run.summary())
    return f" ± {found[1] / value - 1:.0%}" if found and value else ""


def interval_of(row: Row, run: Run) -> Interval | None:
    figure, summary = figure_of(row.key), run.summary()
    return None if figure is None else summary.interval(figure, row.of(summary))


def change_words(before: float, after: float) -> str:
    """Return a change in per cent, or as a factor where it is large."""
    if not before:
        return "-"
    ratio = after / before
    return f"{ratio - 1:+.1%}" if ratio < MANIFOLD else f"{ratio:.3g} times"


def what_if_json(found: WhatIf) -> dict[str, Any]:
    """Return every figure of every side."""
    decided = found.decisions()
    return {
        "predicted": True,
        "recorded": figures(found.recorded),
        "unchanged": figures(found.unchanged),
        "changed": {name: figures(run) for name, run in found.changed.items()},
        "measured": {name or "unchanged": figures(run) for name, run in found.measured.items()},
        "not_known": list(found.not_known),
        "same_decisions": {"steps": decided.same, "recorded": decided.steps[0], "predicted": decided.steps[1]},
    }


def figures(run: Run) -> dict[str, Any]:
    summary = run.summary()
    within = {row.key: found for row in ROWS if (found := interval_of(row, run))}
    return {
        "folder": str(run.folder),
        **{row.key: row.of(summary) for row in ROWS},
        **({"intervals_90": within} if within else {}),
    }
