"""Sessions of several turns: latencies by turn, what the prefix cache kept against what it could, and the evictions."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np

from engine_probe.analysis.sessions.turns import Sessions, TurnTimes, hits_of, may_have_turns, sessions, together
from engine_probe.analysis.statistics.grouped import grouped
from engine_probe.recordings.run import Run
from engine_probe.report.charts.model import Axis, Lines, Series, numbers
from engine_probe.report.document import Column, Section, Sentence, Table, says, sure, table
from engine_probe.text_format import counted, duration

TITLE = "Sessions"
SHORT_NS = 1e8  # pauses that are all shorter are drawn in milliseconds
SHOWN_TURNS, SHOWN_POINTS = 10, 12  # in a terminal
IDEAL = (
    "The ideal is a prefix cache without limits: of a first prompt what it shares, from its start and in whole blocks, "
    "with a prompt planned before it; of a later one the prompt and answer of the turn before, less the answer's last "
    "token, whose KV no step computes. It is derived from the plan and the lengths. What is missing of a history was "
    "evicted between the answer and the next turn."
)
HITS = (Column("found in the prefix cache", short="found"), "without\nlimits")  # columns
Found = tuple[str, Sessions]


def sessions_section(runs: Sequence[tuple[str, Run | None]]) -> Section:
    """Return the sessions of a run, or of each level of a sweep: runs of one name are repeats of a level.

    Empty if none has several turns.
    """
    by_name = grouped(
        (
            (name, each)
            for name, run in runs
            if run is not None
            and may_have_turns(run.facts)
            and (each := sessions(run.facts, run.requests, run.answers)) is not None
        ),
        lambda pair: pair[0],
    )
    found = [(name, together([each for _, each in repeats])) for name, repeats in by_name.items()]
    if not found:
        return Section()
    tables = (levels_table(found),) if len(found) > 1 else (turns_table(found[0][1]),)
    return Section(
        TITLE,
        sentences=tuple(words(found[0][1]) if len(found) == 1 else levels_words(found)),
        charts=partial(charts, found),
        tables=tables,
        details=sure(IDEAL),
    )


def words(found: Sessions) -> Iterator[Sentence]:
    yield from says(hit_words(found))
    yield from eviction_words(found)
    first, later = (ttft_words(turns) for turns in (found.by_number[0], found.later))
    yield Sentence(f"TTFT p50: {first} in first turns, {later} in later ones.")
    yield Sentence(session_words(found))
    if found.not_known:
        yield Sentence(f"{counted(found.not_known, 'session')} with unfinished turns are left out.", "caution")


def hit_words(found: Sessions) -> Iterator[str]:
    hits = found.hits
    if hits is None:
        yield "Without a prefix cache every turn computes its whole history."
    elif hits.of_ideal is None:
        yield "No prompt shares a whole block with an earlier one."
    else:
        yield (
            f"Prefix cache: {hits.share:.1%} of the prompt tokens were found; without limits it would be "
            f"{hits.ideal_share:.1%} ({hits.of_ideal:.1%} of the ideal)."
        )


def eviction_words(found: Sessions) -> Iterator[Sentence]:
    """Say how much history was evicted in the pauses, and that none was."""
    if found.hits is None or not found.later:
        return
    lost, evicted = sum(turn.lost_tokens for turn in found.evicted), found.evicted
    if not lost:
        yield Sentence("No history was evicted between an answer and the next turn.")
        return
    share = lost / sum(turn.prompt_tokens for turn in found.turns)
    yield Sentence(
        f"Evicted in pauses: {len(evicted)} of {len(found.later)} later turns lost history, {lost:,} tokens that were "
        f"computed again ({share:.1%} of all prompt tokens).",
        "caution",
    )


def ttft_words(turns: Sequence[TurnTimes]) -> str:
    times = [turn.ttft_ns for turn in turns if turn.ttft_ns is not None]
    return duration(float(np.median(times))) if times else "-"


def session_words(found: Sessions) -> str:
    whole = [session for session in found.sessions if session.whole and session.seconds is not None]
    if not whole:
        return "No session was answered to its end."
    seconds = [session.seconds or 0.0 for session in whole]
    paused = [session.paused_seconds for session in whole]
    working = [both - pause for both, pause in zip(seconds, paused, strict=True)]
    return (
        f"{counted(len(whole), 'whole session')}: p50 {duration(float(np.median(seconds)) * 1e9)} from the first "
        f"request to the last answer, of which {duration(float(np.median(working)) * 1e9)} waiting for the engine."
    )


def levels_words(found: Sequence[Found]) -> Iterator[Sentence]:
    """Say at which levels history was evicted."""
    lost = [name for name, each in found if each.evicted]
    kept = [name for name, each in found if each.hits and not each.evicted]
    if lost:
        yield Sentence(f"History was evicted in pauses at: {'; '.join(lost)}.", "caution")
    if kept:
        yield Sentence(f"No history was evicted at: {'; '.join(kept)}.")


def turns_table(found: Sessions) -> Table:
    prompts, pause = Column("prompt tokens, mean", short="prompt\ntokens"), Column("pause, mean", short="pause")
    lost = Column("turns that lost history", short="lost\nhistory")
    titles = ("turn", "requests", prompts, "TTFT\np50", *HITS, lost, pause)
    rows = (
        (
            f"{number + 1}",
            f"{len(turns)}",
            f"{np.mean([turn.prompt_tokens for turn in turns]):,.0f}",
            ttft_words(turns),
            *hit_cells(turns),
            f"{sum(turn.lost_tokens > 0 for turn in turns)}" if number else "-",
            duration(float(np.mean([turn.pause_ns for turn in turns if turn.pause_ns is not None]))) if number else "-",
        )
        for number, turns in found.by_number.items()
    )
    return table(titles, rows, words=(), first=SHOWN_TURNS)


def levels_table(found: Sequence[Found]) -> Table:
    columns = (
        *("level", *HITS),
        Column("later turns that lost history", short="lost\nhistory"),
        Column("TTFT p50, first turn", short="TTFT,\nfirst"),
        Column("TTFT p50, later turns", short="TTFT,\nlater"),
        Column("whole session p50", short="session"),
    )
    rows = (
        (
            name,
            *hit_cells(each.turns),
            f"{len(each.evicted)} of {len(each.later)}" if each.hits else "-",
            ttft_words(each.by_number[0]),
            ttft_words(each.later),
            session_cell(each),
        )
        for name, each in found
    )
    return table(columns, rows, first=SHOWN_POINTS)


def session_cell(found: Sessions) -> str:
    seconds = [each.seconds for each in found.sessions if each.whole and each.seconds is not None]
    return duration(float(np.median(seconds)) * 1e9) if seconds else "-"


def hit_cells(turns: Sequence[TurnTimes]) -> tuple[str, str]:
    hits = hits_of(turns)
    return ("-", "-") if hits is None else (f"{hits.share:.1%}", f"{hits.ideal_share:.1%}")


def charts(found: Sequence[Found]) -> Iterator[Lines]:
    """Yield TTFT and hits by turn, a line for each run, and what pauses of different length cost."""
    last = max(max(each.by_number) for _, each in found)
    xs: list[float | None] = [float(number + 1) for number in range(last + 1)]

    def line(each: Sessions, value: Callable[[Sequence[TurnTimes]], float | None]) -> list[float | None]:
        return [value(each.by_number.get(number, ())) for number in range(last + 1)]

    x, shades = Axis("turn", whole=True), shades_of(found)
    times = [
        Series(name or "TTFT p50", line(each, ttft_ms), style="both", shade=shades.get(name)) for name, each in found
    ]
    yield Lines("TTFT by turn", "The median over the sessions that have this turn.", x, [Axis("TTFT", "ms")], xs, times)
    cached = [(name, each) for name, each in found if each.hits]
    if cached:
        series = [
            Series(name or "found", line(each, found_percent), style="both", shade=shades.get(name))
            for name, each in cached
        ]
        ideal = Series("without limits", line(cached[0][1], ideal_percent), style="dashed", colour=5)
        note = "Share of the prompt tokens of each turn."
        yield Lines("Found in the prefix cache by turn", note, x, [Axis("prompt tokens", "%")], xs, [*series, ideal])
        yield pauses_chart(cached, shades)


def shades_of(found: Sequence[Found]) -> dict[str, float]:
    """Return the shade of each level, in their order. Empty for a single one, which takes a colour."""
    return {} if len(found) == 1 else {name: place / (len(found) - 1) for place, (name, _) in enumerate(found)}


def pauses_chart(found: Sequence[Found], shades: Mapping[str, float]) -> Lines:
    """Return how much history each later turn lost, over the pause before it."""
    places = sorted({pause for _, each in found for turn in each.later if (pause := turn.pause_ns) is not None})
    at = {pause: place for place, pause in enumerate(places)}
    series = []
    for name, each in found:
        values: list[float | None] = [None] * len(places)
        for turn in each.later:
            if turn.pause_ns is not None and turn.ideal_tokens:
                values[at[turn.pause_ns]] = round(100 * turn.lost_tokens / turn.ideal_tokens, 3)
        series.append(Series(name or "turn", values, style="dots", shade=shades.get(name)))
    unit, size = ("s", 1e9) if places and places[-1] >= SHORT_NS else ("ms", 1e6)
    pauses = numbers([pause / size for pause in places])
    note = "Each dot is a later turn: the share of its history that was evicted since the answer before it."
    return Lines("History lost over the pause", note, Axis("pause", unit), [Axis("history lost", "%")], pauses, series)


def ttft_ms(turns: Sequence[TurnTimes]) -> float | None:
    times = [turn.ttft_ns for turn in turns if turn.ttft_ns is not None]
    return round(float(np.median(times)) / 1e6, 4) if times else None


def found_percent(turns: Sequence[TurnTimes]) -> float | None:
    hits = hits_of(turns)
    return None if hits is None else round(100 * hits.share, 3)


def ideal_percent(turns: Sequence[TurnTimes]) -> float | None:
    hits = hits_of(turns)
    return None if hits is None else round(100 * hits.ideal_share, 3)
