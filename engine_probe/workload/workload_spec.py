"""The description of a workload, as a sweep file holds it."""

from typing import Annotated

import msgspec

from engine_probe.files.key_meaning import about
from engine_probe.workload.arrivals import Arrivals, Burst, ClosedLoop, Replay, Steps
from engine_probe.workload.dataset_file import Dataset, Texts
from engine_probe.workload.lengths import DescriptionError, Length, Positive, PositiveFloat
from engine_probe.workload.prompts import Conversations, RandomPrompts, SharedPrefix
from engine_probe.workload.question_set.question_prompts import Questions
from engine_probe.workload.traces.trace_file import Trace

Prompts = RandomPrompts | SharedPrefix | Conversations | Texts | Dataset | Questions | Trace

FromFile = Dataset | Questions | Trace


def prompt_files(prompts: Prompts | None) -> tuple[str, ...]:
    """Return the names of the files that the prompts are read from."""
    if isinstance(prompts, Questions):
        return prompts.paths
    if isinstance(prompts, Trace):
        return (str(prompts.file),)
    return (prompts.path,) if isinstance(prompts, FromFile) else ()


class Sampling(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the engine chooses and returns tokens."""

    temperature: Annotated[float, about("0 is greedy decoding; above 0, tokens are sampled.", 0.8, ge=0)] = 0.0
    ignore_eos: Annotated[
        bool, about("Generate every answer to its full length; false lets the model end it.", False)
    ] = True
    stream: Annotated[bool, about("Return tokens step by step; false returns each answer when complete.", True)] = False


class Workload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Describes requests; the same description gives the same requests, byte for byte."""

    prompts: Prompts
    arrivals: Arrivals = Burst()
    output_len: Length | None = None  # None: as the dataset or trace says
    num_prompts: Positive | None = None  # counts conversations, not turns; None: all of a file
    measured: Positive | None = None  # so many of them, and the others only hold the load; None: all
    max_concurrency: Positive | None = None  # most requests in flight; the driver holds back the others
    deadline_seconds: PositiveFloat | None = None  # a request that has no answer by then is aborted
    sampling: Sampling = Sampling()
    seed: int = 0

    def __post_init__(self) -> None:
        from_file = isinstance(self.prompts, FromFile)
        if isinstance(self.prompts, Trace) and self.output_len is not None:
            raise DescriptionError("output_len is given, but a trace brings its own lengths: leave it out")
        if isinstance(self.prompts, Questions) and self.sampling.ignore_eos:
            raise DescriptionError(
                "sampling.ignore_eos is true, and an answer that must go on past its end cannot be judged: set it to "
                "false for questions"
            )
        if (not from_file or isinstance(self.prompts, Questions)) and self.output_len is None:
            raise DescriptionError("output_len is missing: say how many tokens an answer has")
        if not from_file and self.num_prompts is None:
            raise DescriptionError("num_prompts is missing: say how many requests there are")
        if isinstance(self.arrivals, Replay) and not isinstance(self.prompts, Trace):
            raise DescriptionError("arrivals are replayed, but only a trace has times: use prompts of kind trace")
        if isinstance(self.arrivals, Steps) and self.num_prompts != self.arrivals.num_requests:
            raise DescriptionError(
                f"arrivals of kind steps ask {self.arrivals.num_requests} times, and num_prompts is "
                f"{self.num_prompts}: leave num_prompts out"
            )
        if isinstance(self.arrivals, ClosedLoop) and self.max_concurrency is not None:
            raise DescriptionError("max_concurrency says the same as the users of a closed loop: leave it out")


class WarmUp(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Requests of each point's own workload, under another seed, before the recording begins.

    Whichever limit is reached first ends it, and what is in flight is aborted. Without this section an engine answers
    one short request when it starts.
    """

    requests: Annotated[Positive | None, about("Number of warm-up requests.", 8)] = None
    seconds: Annotated[PositiveFloat | None, about("Seconds of warm-up.", 5.0)] = None
    none: Annotated[bool, about("Skip even the one short request with which an engine starts.", True)] = False

    def __post_init__(self) -> None:
        if self.none and self.own_workload:
            raise DescriptionError("none = true contradicts requests and seconds: leave one of them out")

    @property
    def own_workload(self) -> bool:
        return self.requests is not None or self.seconds is not None
