"""The success rate of a run: which of its requests were answered, of those that were given the time for it.

success rate   answered / (answered + aborted past their deadline + failed)

Requests in flight when the run ended, and those that only held the load, count in neither. The driver knows how each of
its requests ended (table `answers`). Of another program's requests vLLM's finish reasons tell it, unless some were
aborted: whether their client gave up or the run ended is then not known.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine_probe.analysis.run.latencies import is_answered, request_rows, without_further
from engine_probe.record.schema import AnswerOutcome
from engine_probe.workload.load import FURTHER

ABORTED = "abort"  # vLLM's finish reason
FAILED = (AnswerOutcome.DEADLINE, AnswerOutcome.FAILED)


@dataclass(frozen=True)
class Success:
    """Counts the requests whose outcome tells of the engine."""

    answered: int
    past_deadline: int
    failed: int

    @property
    def asked(self) -> int:
        return self.answered + self.past_deadline + self.failed

    @property
    def rate(self) -> float:
        return self.answered / self.asked

    @property
    def any_failed(self) -> bool:
        return self.answered < self.asked

    @property
    def words(self) -> str:
        """Return the rate with what failed: `83% answered (3 past their deadline, 1 failed)`."""
        counts = ((self.past_deadline, "past their deadline"), (self.failed, "failed"))
        parts = ", ".join(f"{count:,} {word}" for count, word in counts if count)
        return f"{self.rate:.1%} of {self.asked:,} answered{f' ({parts})' if parts else ''}"


def success(facts: dict[str, Any], requests: pa.Table, answers: pa.Table) -> Success | None:
    """Count the outcomes of a run. None if no request ended, or if it is not known how aborted ones did."""
    found = of_driver(answers) if answers.num_rows else of_reasons(without_further(facts, requests))
    return found if found is not None and found.asked else None


def of_driver(answers: pa.Table) -> Success:
    outcomes = measured(answers)["outcome"]
    counts = {outcome: pc.sum(pc.equal(outcomes, outcome)).as_py() or 0 for outcome in AnswerOutcome}
    return Success(*(counts[each] for each in (AnswerOutcome.ANSWERED, *FAILED)))


def of_reasons(requests: pa.Table) -> Success | None:
    """Count requests by vLLM's finish reasons. None if one was aborted."""
    if pc.any(pc.equal(requests["finish_reason"], ABORTED)).as_py():
        return None
    rows, whole = request_rows(requests), is_answered(requests)
    failed = len(np.unique(rows[~whole]))
    return Success(len(np.unique(rows)) - failed, 0, failed)


def summed(found: Sequence[Success]) -> Success:
    """Return the counts of several runs together."""
    return Success(*(sum(getattr(each, field.name) for each in found) for field in fields(Success)))


def failed_ids(answers: pa.Table) -> pa.Array:
    """Return vLLM's ids of the requests that failed or were aborted past their deadline."""
    rows = measured(answers)
    failed = pc.is_in(rows["outcome"], pa.array([str(each) for each in FAILED]))
    return rows.filter(failed)["request_id"].combine_chunks()


def measured(answers: pa.Table) -> pa.Table:
    """Leave out the requests that only held the load."""
    return answers.filter(pc.invert(pc.starts_with(answers["prompt_id"], FURTHER)))
