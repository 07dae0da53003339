"""The section [workload] of a sweep file: the requests of each point, and how many of them there are."""

from typing import Annotated

import msgspec

from engine_probe.analysis.curve.held_load import TURNOVERS
from engine_probe.errors import InputError
from engine_probe.files.config_file import put
from engine_probe.files.key_meaning import about
from engine_probe.sweep.definition.axes import WORKLOAD
from engine_probe.workload.arrivals import Arrivals, Burst, ClosedLoop, Steps
from engine_probe.workload.dataset_file import Dataset
from engine_probe.workload.lengths import Length, Positive, PositiveFloat, Uniform
from engine_probe.workload.load import MOST_LOAD, load_of
from engine_probe.workload.prompts import Conversations, RandomPrompts, SharedPrefix
from engine_probe.workload.question_set.question_file import MOST_TURNS
from engine_probe.workload.question_set.question_prompts import Questions
from engine_probe.workload.traces.trace_file import MOST_RECORDED_TURNS, Trace
from engine_probe.workload.workload_spec import FromFile, Prompts, Sampling, Workload

ANSWERS_TO_HOLD = TURNOVERS + 1  # for each place in flight: one more than a level needs to take part in a curve


class WorkloadSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The requests of each point: `concurrency` in flight, each with `input_len` random tokens in and `output_len` out.

    `prompts` and `arrivals` describe anything else.
    """

    input_len: Annotated[Length | None, about("Tokens of each random prompt. Omit it if prompts is given.", 128)] = None
    output_len: Annotated[
        Length | None, about("Tokens of each answer. Optional for a dataset with answers; omit it for a trace.", 128)
    ] = None
    concurrency: Annotated[
        Positive | None, about("Number of requests kept in flight; with arrivals, the maximum.", 16)
    ] = None
    num_prompts: Annotated[
        Positive | None,
        about(
            "Requests (or conversations) to measure. Left out: all of a file, or as many as concurrency or users; with "
            "hold enough for three answers to each.",
            320,
        ),
    ] = None
    prompts: Annotated[Prompts | None, about("Prompts other than input_len random tokens.")] = None
    arrivals: Annotated[
        Arrivals | None, about("When requests arrive. Default: concurrency requests are always in flight.")
    ] = None
    sampling: Annotated[Sampling, about("How tokens are chosen and returned.")] = Sampling()
    seed: Annotated[int, about("The same seed gives the same requests, byte for byte.", 1)] = 0
    deadline_seconds: Annotated[
        PositiveFloat | None,
        about(
            "Longest time of a request, from when the engine gets it; one without an answer by then is aborted and has "
            "failed.",
            60.0,
        ),
    ] = None
    hold: Annotated[
        bool,
        about(
            "Keep concurrency requests in flight until the last measured one is answered: further requests follow, are "
            "then aborted, and are left out of latencies. true in a file that has concurrency and neither num_prompts, "
            "arrivals nor prompts from a file.",
            True,
        ),
    ] = False

    def at(self, axis: str, value: object) -> "WorkloadSection":
        """Return the same workload with this value on an axis such as `workload.arrivals.users`."""
        document = msgspec.to_builtins(self)
        try:
            put(document, axis.removeprefix(WORKLOAD), value)
            return msgspec.convert(document, WorkloadSection)
        except (InputError, msgspec.ValidationError) as error:
            raise InputError(f"{axis} cannot be {value}: name a load, such as workload.concurrency") from error

    @property
    def from_file(self) -> bool:
        return isinstance(self.prompts, FromFile)

    @property
    def max_in_flight(self) -> int:
        """Return the most requests that may be in flight."""
        if isinstance(self.arrivals, Steps):
            return max(self.arrivals.levels)
        users = self.arrivals.users if isinstance(self.arrivals, ClosedLoop) else None
        return self.concurrency or users or self.num_prompts or 1

    @property
    def load(self) -> tuple[float, str]:
        """Return the load and its unit."""
        try:
            return load_of(msgspec.to_builtins(self))
        except ValueError as error:
            raise InputError(f"workload: {error}, not a possible load: give at most {MOST_LOAD:,.0f}") from error

    @property
    def in_flight(self) -> int | None:
        """Return how many requests are always in flight. None if that depends on how fast answers come."""
        match self.arrivals:
            case None | Burst() | ClosedLoop(think_seconds=0, pace_seconds=0):
                return min(self.max_in_flight, self.sessions or self.max_in_flight)
        return None

    @property
    def sessions(self) -> int | None:
        """Return the number of conversations, of one or more requests. None for all of a file."""
        if isinstance(self.arrivals, Steps):
            return self.num_prompts or self.arrivals.num_requests
        return self.num_prompts or (None if self.from_file else self.max_in_flight * self._each)

    @property
    def _each(self) -> int:
        """Return how many sessions each place in flight gets: with `hold`, enough for its answers."""
        return -(-ANSWERS_TO_HOLD // self.turns[0]) if self.hold else 1

    @property
    def turns(self) -> tuple[int, int]:
        """Return the fewest and the most requests of a session."""
        match self.prompts:
            case Conversations(Uniform(low, high)):
                return low, high
            case Conversations(int(turns)):
                return turns, turns
            case Dataset(format="sharegpt", turns=most):
                return 1, most
            case Questions():
                return 1, MOST_TURNS
            case Trace(format="sessions" | "weka"):
                return 1, MOST_RECORDED_TURNS
        return 1, 1

    @property
    def requests(self) -> int | None:
        """Return the number of requests. None if it is not known before."""
        fewest, most = self.turns
        return self.sessions * most if self.sessions is not None and fewest == most else None

    @property
    def most_requests(self) -> int | None:
        return None if self.sessions is None else self.sessions * self.turns[1]

    @property
    def output_tokens(self) -> int | None:
        """Return the number of output tokens. None if lengths are drawn or read, or answers may end early."""
        if self.requests is None or not isinstance(self.output_len, int) or not self.sampling.ignore_eos:
            return None
        return self.requests * self.output_len

    @property
    def tokens_at_end(self) -> int | None:
        """Return the tokens of a request, or of a conversation's last turn. None if lengths are drawn or read."""
        match self.prompts, self.output_len:
            case None, int(answer) if isinstance(self.input_len, int):
                return self.input_len + answer
            case SharedPrefix(prefix_len, int(asked)), int(answer):
                return prefix_len + asked + answer
            case Conversations(int(turns), int(asked), system_len), int(answer):
                return system_len + turns * (asked + answer)
        return None

    def description(self) -> Workload:
        """Return the full workload; refuse keys that contradict each other."""
        if self.prompts is None and self.input_len is None:
            raise InputError("workload.input_len is missing: give the length of prompts, or describe them in prompts")
        if self.prompts is not None and self.input_len is not None:
            raise InputError("workload.input_len is for random prompts: leave it out, prompts describes the lengths")
        if self.hold and (self.arrivals is not None or self.from_file):
            raise InputError("workload.hold is for concurrency without arrivals or a file of prompts: leave it out")
        measured = self.sessions if self.hold else None
        further = self.max_in_flight * self._each if self.hold else 0
        try:
            return Workload(
                prompts=self.prompts or RandomPrompts(self.input_len or 1),
                arrivals=self.arrivals or ClosedLoop(self.max_in_flight),
                output_len=self.output_len,
                num_prompts=None if self.sessions is None else self.sessions + further,
                measured=measured,
                max_concurrency=self.concurrency if self.arrivals else None,
                deadline_seconds=self.deadline_seconds,
                sampling=self.sampling,
                seed=self.seed,
            )
        except ValueError as error:
            raise InputError(f"workload: {error}") from error
