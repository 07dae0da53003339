"""The options of `profile` for requests and their arrivals, named as in `vllm bench`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from engine_probe.commands.options.engine_options import under
from engine_probe.errors import InputError
from kernels_bench.options import Number

if TYPE_CHECKING:
    from engine_probe.sweep.definition.workload_section import WorkloadSection
    from engine_probe.workload.dataset_file import Dataset
    from engine_probe.workload.question_set.question_prompts import Questions
    from engine_probe.workload.traces.trace_file import Trace

NUM_PROMPTS, LENGTH = 32, 128
RANDOM = "random"
# --dataset-name -> kind and format in a sweep file. `custom` is what `vllm bench` calls a file of JSON lines.
DATASETS = {
    "sharegpt": ("dataset", "sharegpt"),
    "custom": ("dataset", "jsonl"),
    "jsonl": ("dataset", "jsonl"),
    "alpaca": ("dataset", "alpaca"),
    "burstgpt": ("trace", "burstgpt"),
    "mooncake": ("trace", "mooncake"),
    "sessions": ("trace", "sessions"),
    "weka": ("trace", "weka"),
}
QUESTIONS = "questions"
RATE = Number(min=0, min_open=True, infinite=True)
SHAPE = Number(min=0, min_open=True)
SEED = click.IntRange(-(2**63), 2**63 - 1)  # what a message to the engine's process can hold

workload, arrivals = under("Workload"), under("Arrivals")
OPTIONS = (
    workload(
        "--dataset-name",
        type=click.Choice([RANDOM, *DATASETS, QUESTIONS]),
        default=RANDOM,
        show_default=True,
        metavar="KIND",
        help="Random tokens, or a file: sharegpt, alpaca, custom (JSON lines; also jsonl), questions with answer keys, "
        "or the traces burstgpt, mooncake, and of agents sessions and weka.",
    ),
    workload(
        "--dataset-path",
        metavar="FILE",
        help="Local file of prompts, or of a trace; for questions also english, french, malay or quiz, and several "
        "with commas.",
    ),
    workload(
        "--num-prompts",
        type=click.IntRange(1),
        help=f"Number of requests [default: {NUM_PROMPTS}, or all of a shorter file].",
    ),
    workload("--input-len", type=click.IntRange(1), help=f"Tokens of each random prompt [default: {LENGTH}]."),
    workload(
        "--output-len",
        type=click.IntRange(1),
        help=f"Tokens of each answer [default: {LENGTH} for random prompts and questions, else as in the file].",
    ),
    workload(
        "--deadline-seconds",
        type=Number(min=0, min_open=True),
        help="Abort a request that has no answer after this long, and count it as failed [default: none].",
    ),
    workload("--seed", type=SEED, default=0, show_default=True, help="The same seed gives the same prompts."),
    arrivals("--max-concurrency", type=click.IntRange(1), help="Maximum number of requests in flight [default: all]."),
    arrivals("--request-rate", type=RATE, default=math.inf, help="Requests per second [default: all at the start]."),
    arrivals(
        "--burstiness",
        type=SHAPE,
        default=1.0,
        show_default=True,
        help="Regularity of arrivals: 1 is a Poisson process, less is burstier, more is more regular.",
    ),
    arrivals("--replay", is_flag=True, help="Send the requests of a trace at their recorded times."),
)


def workload_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add all of them to a command."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


@dataclass(frozen=True, kw_only=True)
class WorkloadOptions:
    dataset_name: str
    dataset_path: str | None
    num_prompts: int | None
    input_len: int | None
    output_len: int | None
    deadline_seconds: float | None
    seed: int
    max_concurrency: int | None
    request_rate: float
    burstiness: float
    replay: bool

    def workload(self) -> WorkloadSection:
        """Return the workload; refuse contradictory options and unusable files."""
        from engine_probe.sweep.definition.workload_section import WorkloadSection
        from engine_probe.workload.question_set.question_prompts import Questions
        from engine_probe.workload.workload_spec import Sampling

        prompts = self._prompts()
        count = self.num_prompts or NUM_PROMPTS
        if prompts is not None:
            count = self._count(self._usable(prompts))
        asks = isinstance(prompts, Questions)
        return WorkloadSection(
            input_len=None if prompts else self.input_len or LENGTH,
            output_len=self.output_len or (LENGTH if asks or not prompts else None),
            concurrency=self.max_concurrency or count,
            num_prompts=count,
            prompts=prompts,
            arrivals=self._arrivals(),
            deadline_seconds=self.deadline_seconds,
            sampling=Sampling(ignore_eos=not asks),
            seed=self.seed,
        )

    def _prompts(self) -> Dataset | Questions | Trace | None:
        from engine_probe.workload.dataset_file import Dataset
        from engine_probe.workload.question_set.question_prompts import Questions
        from engine_probe.workload.traces.trace_file import Trace

        if self.dataset_name == RANDOM:
            if self.dataset_path is not None:
                kinds = ", ".join((*DATASETS, QUESTIONS))
                raise InputError(f"profile: --dataset-path {self.dataset_path} needs --dataset-name, its kind: {kinds}")
            return None
        if self.dataset_path is None:
            raise InputError(f"profile: --dataset-name {self.dataset_name} needs --dataset-path, a local file")
        if self.input_len is not None:
            raise InputError("profile: --input-len is for random prompts: leave it out, the file has its own prompts")
        if self.dataset_name == QUESTIONS:
            return Questions(tuple(self.dataset_path.split(",")))
        kind, form = DATASETS[self.dataset_name]
        named: Any = {"path": self.dataset_path, "format": form}
        if kind == "dataset":
            return Dataset(**named)
        if self.output_len is not None:
            raise InputError("profile: --output-len is given, but a trace has its own lengths: leave it out")
        return Trace(**named)

    def _usable(self, prompts: Dataset | Questions | Trace) -> int:
        """Count the usable requests of the file."""
        from engine_probe.workload.dataset_file import Dataset, check_answers, read_entries
        from engine_probe.workload.question_set.question_file import read_question_sets
        from engine_probe.workload.question_set.question_prompts import Questions
        from engine_probe.workload.traces.trace_file import answered

        if isinstance(prompts, Questions):
            return len(read_question_sets(prompts.paths))
        if not isinstance(prompts, Dataset):
            return len(answered(prompts)[0])
        if self.output_len is None:
            check_answers(prompts)
        return sum(1 for entry in read_entries(prompts) if entry)

    def _count(self, usable: int) -> int:
        if not usable:
            raise InputError(f"profile: {self.dataset_path} holds no usable request: name another with --dataset-path")
        if self.dataset_name == QUESTIONS:  # asked again if there are not enough
            return self.num_prompts or usable
        if self.num_prompts is not None and self.num_prompts > usable:
            raise InputError(
                f"profile: --num-prompts is {self.num_prompts}, but {self.dataset_path} holds {usable} usable entries: "
                "lower it, or give a larger file"
            )
        return self.num_prompts or min(NUM_PROMPTS, usable)

    def _arrivals(self) -> Any:
        from engine_probe.workload.arrivals import OpenLoop, Replay

        if self.replay:
            if DATASETS.get(self.dataset_name, ("",))[0] != "trace":
                raise InputError(
                    "profile: --replay needs recorded times: name a trace with --dataset-name burstgpt, mooncake or "
                    "sessions"
                )
            if not math.isinf(self.request_rate):
                raise InputError("profile: --replay and --request-rate contradict each other: leave one of them out")
            return Replay()
        return None if math.isinf(self.request_rate) else OpenLoop(self.request_rate, self.burstiness)
