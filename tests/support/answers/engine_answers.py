"""The answers of a real engine in this process, as the `answers` table of a recording, without a recording."""

from __future__ import annotations

from functools import partial
from typing import Any

import pyarrow as pa

from engine_probe.record.schema import ADDED_SCHEMAS
from engine_probe.sweep.engine_process.recorded_point import so_far
from engine_probe.workload.answers import AnswerLog, KeepAnswers
from engine_probe.workload.request_plan import Plan
from engine_probe.workload.workload_run import run_plan

ANSWERS = ADDED_SCHEMAS["answers"]


def engine_answers(llm: Any, plan: Plan) -> pa.Table:
    """Run a plan, and keep the tokens, text and log-probabilities of its answers."""
    rows: list[tuple[Any, ...]] = []
    kept = KeepAnswers("text", logprobs=True)
    log = AnswerLog(rows.append, kept, partial(so_far, llm.llm_engine), llm.get_tokenizer().decode)
    run_plan(llm, plan, answers=log)
    return pa.Table.from_pylist([dict(zip(ANSWERS.names, row, strict=True)) for row in rows], ANSWERS)
