"""How long answers are, by a recording or a file of recorded traffic."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine_probe.commands.sweep.twin import recorded
from engine_probe.errors import InputError
from engine_probe.workload.traces.trace_file import Trace, answered

FORMATS = {".jsonl": "mooncake", ".csv": "burstgpt"}


@dataclass(frozen=True)
class AnswerLengths:
    source: str
    count: int
    mean: float
    p90: int
    longest: int

    @property
    def words(self) -> str:
        return (
            f"Answers as in {self.source}: {self.mean:,.0f} tokens on average, 90% have at most {self.p90:,}, the "
            f"longest of {self.count:,} has {self.longest:,}. The plan is for the average."
        )


def answer_lengths(place: Path) -> AnswerLengths:
    """Read the answers of a run, a sweep or a trace; refuse a file that holds texts, which only a tokenizer counts."""
    if not place.exists():
        raise InputError(f"--answer-lengths {place}: there is no such folder or file")
    lengths = np.array(of_recordings(place) if place.is_dir() else of_trace(place))
    lengths = lengths[lengths > 0]
    if not len(lengths):
        raise InputError(f"--answer-lengths {place} holds no answer")
    p90 = int(np.quantile(lengths, 0.9, method="higher"))
    return AnswerLengths(str(place), len(lengths), float(lengths.mean()), p90, int(lengths.max()))


def of_recordings(place: Path) -> list[int]:
    return [
        length
        for run in recorded(place, f"--answer-lengths {place}")
        for length in run.requests["output_tokens"].to_pylist()
    ]


def of_trace(place: Path) -> list[int]:
    kind = FORMATS.get(place.suffix)
    if kind is None:
        raise InputError(
            f"--answer-lengths {place}: give a recording, or a trace with lengths in tokens (Mooncake's .jsonl, "
            "BurstGPT's .csv): only a model's tokenizer counts the tokens of texts"
        )
    sessions, _ = answered(Trace(str(place), "mooncake" if kind == "mooncake" else "burstgpt"))
    return [turn.output_len for session in sessions for turn in session.turns]
