"""Users for concurrent requests, and the other way round, with the answer times measured at each level."""

from collections.abc import Iterator, Sequence
from typing import Any

from engine_probe.analysis.curve.users import LevelUsers, level_users
from engine_probe.analysis.money.user_habit import Habit
from engine_probe.analysis.statistics.repeats import reach_words
from engine_probe.recordings.curve import Curve
from engine_probe.recordings.sweep import Swept
from engine_probe.report.document import Cell, Column, Section, Table, says, table
from engine_probe.text_format import figures
from engine_probe.workload.load import CONCURRENCY, USERS

TITLE = "Users and requests in flight"
PACES = (10.0, 40.0, 120.0)  # seconds from one request of a user to the next, as examples
WRITTEN = ("dataset", "questions", "texts", "conversations")  # kinds of prompts that stand for people
LAW = "Little's law: requests in flight = users x mean answer time / time from one request of a user to the next."
ANSWER = Column("mean answer time, s", short="mean\nanswer, s")
FOR_CONCURRENCY: tuple[Column | str, ...] = (
    *("concurrent\nrequests", ANSWER),
    *(Column(f"users who ask every {pace:g} s", short=f"users,\nevery {pace:g} s") for pace in PACES),
)
FOR_USERS: tuple[Column | str, ...] = (
    *("users", ANSWER, "a user\nwaits", Column("in flight, by their habit", short="in flight,\nby habit")),
    *("requests/s x\nanswer time", "ran,\non average"),
)


def users_section(swept: Swept, curves: Sequence[Curve]) -> Section:
    """Return the levels in the other unit. Empty if no curve counts users, or prompts that stand for people."""
    tables = tuple(found for curve in curves if (found := users_table(swept, curve)))
    return Section(TITLE, sentences=says([LAW, *examples(curves)]), tables=tables) if tables else Section()


def users_table(swept: Swept, curve: Curve) -> Table | None:
    work = next((point.run.facts.get("workload") or {} for point in swept.curves[curve.label] if point.run), {})
    levels = level_users(curve.figures)
    if not levels:
        return None
    if curve.unit == USERS and (habit := habit_of(work)):
        return table(FOR_USERS, [user_row(level, habit) for level in levels], (), title=curve.label)
    if curve.unit == CONCURRENCY and (work.get("prompts") or {}).get("kind") in WRITTEN:
        return table(FOR_CONCURRENCY, [concurrency_row(level) for level in levels], (), title=curve.label)
    return None


def habit_of(work: dict[str, Any]) -> Habit | None:
    """Return how often the users of a closed loop ask. None for other arrivals."""
    arrivals = work.get("arrivals") or {}
    if arrivals.get("kind") != "closed_loop":
        return None
    pace, think = arrivals.get("pace_seconds") or 0.0, arrivals.get("think_seconds") or 0.0
    return Habit(pace) if pace or not think else Habit(think_seconds=think)


def user_row(level: LevelUsers, habit: Habit) -> tuple[Cell | str, ...]:
    answer = level.answer_seconds.mean
    return (
        f"{level.load:g}",
        answer_cell(level),
        f"{habit.waiting_share(answer):.0%}",
        f"{habit.in_flight(level.load, answer):,.1f}",
        f"{level.in_flight:,.1f}",
        f"{level.running:,.1f}",
    )


def concurrency_row(level: LevelUsers) -> tuple[Cell | str, ...]:
    found = (Habit(pace).users(level.load, level.answer_seconds.mean) for pace in PACES)
    return f"{level.load:g}", answer_cell(level), *(f"{users:,.0f}" for users in found)


def answer_cell(level: LevelUsers) -> Cell:
    return Cell(f"{figures(level.answer_seconds.mean)}{reach_words(level.answer_seconds)}")


def examples(curves: Sequence[Curve]) -> Iterator[str]:
    if any(curve.unit == CONCURRENCY for curve in curves):
        yield "For other habits: engine_probe users --concurrency N --every SECONDS --answer SECONDS."
