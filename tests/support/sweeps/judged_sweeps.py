"""Sweeps whose recordings hold answers to the shipped questions, with planted faults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import msgspec
import pyarrow as pa

from engine_probe.record.run_folder import QUESTIONS_FILE
from engine_probe.workload.question_set.question_file import Question
from tests.support.answers.model_answers import QUESTIONS, TURNS, answer_to
from tests.support.recordings.run_folders import TINY, facts, ran, write_points, write_run
from tests.support.recordings.small_tables import table

ENGLISH = [(question, turn) for question, turn in TURNS if question.language == "en"]
NOTHING: Mapping[str, str | None] = MappingProxyType({})
Planted = Mapping[str, str | None]  # id of a question -> the answer in place of the model answer; None: not kept


def write_judged_run(
    path: Path,
    planted: Planted = NOTHING,
    late: int = 0,
    asked: Sequence[tuple[Question, int]] = ENGLISH,
    blocks: int = 60,
) -> Path:
    """A run that was asked these questions once; the last `late` requests missed their deadline."""
    tables = ran(len(asked), prompt=16, output=2, blocks=blocks)
    ids = tables["requests"]["request_id"].to_pylist()
    place = tables["requests"].schema.get_field_index("finish_reason")
    stopped = tables["requests"].set_column(place, "finish_reason", pa.array(["stop"] * len(ids)))
    rows = [
        {
            "request_id": name,
            "prompt_id": str(number),
            "question_id": question.turn_id(turn),
            "outcome": "deadline" if number >= len(asked) - late else "answered",
            "text": planted.get(question.turn_id(turn), answer_to(question, turn)),
        }
        for number, (name, (question, turn)) in enumerate(zip(ids, asked, strict=True))
    ]
    requests = stopped.cast(tables["requests"].schema)
    write_run(path, tables | {"requests": requests, "answers": table("answers", rows)}, facts(blocks))
    lines = b"".join(msgspec.json.encode(question) + b"\n" for question in QUESTIONS)
    (path / QUESTIONS_FILE).write_bytes(lines)
    return path


def write_judged_sweep(
    path: Path,
    levels: Mapping[int, Planted],
    late: Mapping[int, int] = MappingProxyType({}),
    blocks: Mapping[int, int] = MappingProxyType({}),
) -> Path:
    """A sweep over concurrency, whose levels have their own planted answers, and pools."""
    points = []
    for level, planted in levels.items():
        write_judged_run(path / "points" / f"p{level}", planted, late.get(level, 0), blocks=blocks.get(level, 60))
        asked = {"concurrency": level, "num_prompts": len(ENGLISH), "input_len": 16, "output_len": 2, "seed": 0}
        points.append({"id": f"p{level}", "point": asked, "status": "complete"})
    return write_points(path, points, "Does the answer stay right?", engine=TINY, grid={})
