"""The driver's account of a point by its own clock: part of `run.json`, or a file of its own with the probe off."""

import os
import statistics
from collections.abc import Iterable
from itertools import groupby, pairwise
from pathlib import Path

import msgspec

from engine_probe.files.new_file import atomic_write, writing
from engine_probe.files.safe_read import read_json_as
from engine_probe.record.run_folder import DRIVEN_FILE, QUESTIONS_FILE, process_started
from engine_probe.record.schema import AnswerOutcome
from engine_probe.workload.driver import PlanOutcome, UserLevel
from engine_probe.workload.question_set.question_file import read_question_sets
from engine_probe.workload.question_set.question_prompts import Questions
from engine_probe.workload.request_plan import Plan
from engine_probe.workload.stop import StopReason


class WarmedUp(msgspec.Struct, frozen=True):
    """The warm-up before the recording."""

    seconds: float
    answered: int
    aborted: int


class Late(msgspec.Struct, frozen=True):
    median: float
    most: int


class SteadyPart(msgspec.Struct, frozen=True):
    """The part of the recording in which the rate was steady; `half_width` is half its 95 % confidence interval."""

    from_ns: int
    to_ns: int
    output_tokens_per_s: float
    half_width: float

    @property
    def relative(self) -> float:
        return self.half_width / self.output_tokens_per_s


class Steadiness(msgspec.Struct, frozen=True):
    """Whether a point with `stop.steady` became steady, and at what rate."""

    reached: bool
    within: float
    rate: SteadyPart | None


class Driven(msgspec.Struct, frozen=True):
    """What the driver did in a point. Requests that are late were handed over late by the driver, not by the engine."""

    why: StopReason
    started_ns: int
    ended_ns: int
    process: tuple[int, int | None]  # number and start of the engine's process
    steps: int
    handed_over: int  # further ones included
    aborted: int  # in flight at the end; further ones left out, as in never_handed_over
    never_handed_over: int
    late_ns: Late | None
    answered_tokens: int | None  # None where answers may end early
    warmed_up: WarmedUp | None = None
    steady: Steadiness | None = None
    past_deadline: int = 0  # aborted when their deadline had passed
    failed: int = 0  # ended by vLLM without an answer
    not_asked: int = 0  # later turns of conversations in which a turn was not answered
    levels: list[UserLevel] = []  # of users, one after another, with arrivals in steps
    further: int = 0  # requests handed over only to hold the load; those in flight at the end were aborted

    @property
    def seconds(self) -> float:
        return (self.ended_ns - self.started_ns) / 1e9


def driver_log(
    plan: Plan, outcome: PlanOutcome, warmed: WarmedUp | None = None, steady: Steadiness | None = None
) -> Driven:
    late = outcome.lateness_ns
    return Driven(
        why=outcome.why,
        started_ns=outcome.started_ns,
        ended_ns=outcome.ended_ns,
        process=(os.getpid(), process_started(os.getpid())),
        steps=outcome.steps,
        handed_over=len(late),
        aborted=outcome.aborted,
        never_handed_over=outcome.never_handed,
        late_ns=Late(statistics.median(late), max(late)) if late else None,
        answered_tokens=outcome.answered_tokens if plan.sampling.ignore_eos else None,
        warmed_up=warmed,
        steady=steady,
        past_deadline=outcome.measured[AnswerOutcome.DEADLINE],
        failed=outcome.measured[AnswerOutcome.FAILED],
        not_asked=outcome.not_asked,
        levels=outcome.levels,
        further=outcome.further,
    )


def write_driver_log(folder: Path, log: Driven) -> None:
    """Write the account atomically."""
    with writing(folder / DRIVEN_FILE):
        folder.mkdir(parents=True)
        atomic_write(folder / DRIVEN_FILE, msgspec.json.format(msgspec.json.encode(log)))


def write_questions(folder: Path, questions: Questions) -> None:
    """Write a copy of the questions, so that the answers can be judged where their files are not."""
    found = read_question_sets(questions.paths)
    with writing(folder / QUESTIONS_FILE):
        (folder / QUESTIONS_FILE).write_bytes(b"".join(msgspec.json.encode(question) + b"\n" for question in found))


def read_driver_log(folder: Path) -> Driven:
    return read_json_as(folder / DRIVEN_FILE, Driven)


class Between(msgspec.Struct, frozen=True):
    """Idle time of warm engines, from the end of a point to the beginning of the next, without warming up."""

    points: int  # that followed another on the same engine
    measured_seconds: float  # theirs
    between_seconds: float  # before them
    most_seconds: float

    @property
    def share(self) -> float:
        return self.between_seconds / (self.between_seconds + self.measured_seconds)

    @property
    def line(self) -> str:
        """Say how long the engine was idle between points."""
        return (
            f"Between points the engine was idle for {self.between_seconds / self.points * 1000:.0f} ms each, "
            f"{self.share:.1%} of its time."
        )


def between(points: Iterable[Driven]) -> Between | None:
    """Return the idle time between points. None where no point followed another."""
    order = sorted(points, key=lambda point: (point.process, point.started_ns))
    gaps, measured = [], 0.0
    for _, group in groupby(order, key=lambda point: point.process):
        for before, after in pairwise(group):
            warming = after.warmed_up.seconds if after.warmed_up else 0.0
            gaps.append((after.started_ns - before.ended_ns) / 1e9 - warming)
            measured += after.seconds
    return Between(len(gaps), measured, sum(gaps), max(gaps)) if gaps else None
