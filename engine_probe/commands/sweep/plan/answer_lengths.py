"""How long answers are, by a recording, a file of recorded traffic or a data set."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from engine_probe.commands.sweep.twin import recorded
from engine_probe.engine.models.catalogue import catalogue_names
from engine_probe.engine.models.embedded import EMBEDDED, embedded_model
from engine_probe.errors import InputError, UnavailableError
from engine_probe.files.safe_read import read_json_lines
from engine_probe.workload.dataset_file import Dataset, answer_len, read_entries, read_json_list
from engine_probe.workload.lengths import MOST_TOKENS
from engine_probe.workload.traces.trace_file import Trace, answered

FORMATS = ".jsonl, .json or .csv"


@dataclass(frozen=True)
class AnswerLengths:
    source: str
    count: int
    mean: float
    nine_tenths: int  # the least length that at least 90 % do not exceed, which a p90 between two of them is not
    longest: int

    @property
    def words(self) -> str:
        return (
            f"Answers as in {self.source}: {self.mean:,.0f} tokens on average, 90% have at most {self.nine_tenths:,}, "
            f"the longest of {self.count:,} has {self.longest:,}. The plan is for the average."
        )


def answer_lengths(place: Path, model: str) -> AnswerLengths:
    """Read the answers of a run, a sweep, a trace or a data set, whose texts the model's tokenizer counts."""
    if not place.exists():
        raise InputError(f"--answer-lengths {place}: there is no such folder or file")
    lengths = np.array(of_recordings(place) if place.is_dir() else of_file(place, model))
    lengths = lengths[lengths > 0]
    if not len(lengths):
        raise InputError(f"--answer-lengths {place} holds no answer")
    nine_tenths = int(np.quantile(lengths, 0.9, method="higher"))
    return AnswerLengths(str(place), len(lengths), float(lengths.mean()), nine_tenths, int(lengths.max()))


def of_recordings(place: Path) -> list[int]:
    return [
        length
        for run in recorded(place, f"--answer-lengths {place}")
        for length in run.requests["output_tokens"].to_pylist()
    ]


def of_file(place: Path, model: str) -> list[int]:
    kind = format_of(place)
    if kind == "mooncake" or kind == "burstgpt":
        sessions, _ = answered(Trace(str(place), kind))
        return [turn.output_len for session in sessions for turn in session.turns]
    count = counter(place, model)
    data = Dataset(str(place), kind, turns=MOST_TOKENS)
    return [answer_len(exchange, count, data.path) for entry in read_entries(data) for exchange in entry]


def format_of(place: Path) -> Literal["mooncake", "burstgpt", "sharegpt", "alpaca", "jsonl"]:
    """Tell a file's format by its name and its first entry."""
    if place.suffix == ".csv":
        return "burstgpt"
    if place.suffix == ".jsonl":
        first: dict[str, Any] = next((entry for _, entry in read_json_lines(place)), {})
        return "jsonl" if "prompt" in first else "mooncake"
    if place.suffix == ".json":
        return "sharegpt" if any("conversations" in entry for entry in read_json_list(place)[:1]) else "alpaca"
    raise InputError(
        f"--answer-lengths {place}: give a recording, a trace (Mooncake's .jsonl, BurstGPT's .csv) or a data set "
        f"(ShareGPT's or Alpaca's .json, lines with prompt and output_tokens as .jsonl): a file ends in {FORMATS}"
    )


def counter(place: Path, model: str) -> Callable[[str], list[int]]:
    """Return the model's tokenizer, which is read when the first text is counted."""

    @cache
    def tokenizer() -> Any:
        where = embedded_model(model) if model in EMBEDDED else str(Path(model).expanduser())
        file = Path(where) / "tokenizer.json"
        if model in catalogue_names() or not file.is_file():
            raise InputError(
                f"--answer-lengths {place}: only the tokenizer of {model} counts the tokens of its texts, and none is "
                "here: give as --model a folder with a config.json and a tokenizer.json, or a file with lengths in "
                "tokens"
            )
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise UnavailableError(
                f"--answer-lengths {place}: texts are counted by the package tokenizers, which is not installed here: "
                "install it, or give a file with lengths in tokens"
            ) from error
        return Tokenizer.from_file(str(file))

    return lambda text: list(tokenizer().encode(text, add_special_tokens=False).ids)
