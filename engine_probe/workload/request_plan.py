"""The plan of a workload: all requests with their tokens and arrival times, made from a description and a seed."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import NamedTuple

import msgspec

from engine_probe.errors import InputError
from engine_probe.files.stored_list import StoredList
from engine_probe.workload.arrivals import ClosedLoop, Replay, Steps, offsets_seconds, think_seconds
from engine_probe.workload.dataset_file import Dataset, Encode, Texts, dataset_drafts, text_drafts
from engine_probe.workload.lengths import Lengths
from engine_probe.workload.load import FURTHER
from engine_probe.workload.prompts import (
    Chances,
    Conversations,
    Draft,
    Drawing,
    RandomPrompts,
    SharedPrefix,
    Turn,
    conversation_drafts,
    random_drafts,
    shared_prefix_drafts,
)
from engine_probe.workload.question_set.question_prompts import EncodeChat, Questions, question_drafts
from engine_probe.workload.traces.trace_file import Trace, trace_drafts
from engine_probe.workload.workload_spec import Sampling, Workload, prompt_files

SECOND_NS = 1_000_000_000
MOST_SECONDS = 2**33  # 270 years, which fit 64 bits as nanoseconds
MOST_HELD = 20_000  # sessions in memory; more of them are in a temporary file


class Request(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Holds one prompt; in a later turn of a conversation, only the tokens after the previous answer."""

    id: str
    prompt_token_ids: list[int]
    output_len: int
    question_id: str | None = None  # of a question set
    pause_ns: int = 0  # before it, after the answer to the turn before
    whole: bool = False  # a later turn that is the whole prompt by itself


class Session(msgspec.Struct, frozen=True):
    """Holds the turns of one conversation, each of which waits for the answer to the one before; mostly one turn."""

    requests: list[Request]
    arrival_ns: int | None  # after the start; None in a closed loop, where it starts when a user is free
    rest_ns: int = 0  # in a closed loop, the user's pause after it


class Loop(msgspec.Struct, frozen=True):
    """Describes the users of a closed loop."""

    users: int
    pace_ns: int
    spread_ns: int


class UserStep(msgspec.Struct, frozen=True):
    """Describes a level of users, and the time without requests behind it."""

    users: int
    sessions: int
    pause_ns: int


class Plan(msgspec.Struct, frozen=True, omit_defaults=True):
    """Holds all requests of a workload in the order of arrival."""

    sessions: list[Session] | StoredList[Session]
    sampling: Sampling
    seed: int
    loop: Loop | None
    turn_pause_ns: int
    max_concurrency: int | None
    notes: list[str]
    deadline_ns: int | None = None  # after a request is handed over; then it is aborted
    steps: list[UserStep] = []  # of levels of users, one after another
    measured: int | None = None  # sessions whose last answer ends the run; those behind them only hold the load

    @property
    def num_measured(self) -> int:
        """Return the number of sessions that are measured."""
        return len(self.sessions) if self.measured is None else min(self.measured, len(self.sessions))

    @property
    def num_requests(self) -> int:
        """Return the number of requests that are measured."""
        return sum(len(session.requests) for session in islice(self.sessions, self.measured))

    @property
    def sha256(self) -> str:
        """Return a hash that two runs share if they got the same requests: that of the plan as msgpack."""
        encode = msgspec.msgpack.encode
        without = encode(msgspec.structs.replace(self, sessions=[]))
        before = without.index(key := encode("sessions")) + len(key)
        found = hashlib.sha256(without[:before] + array_header(len(self.sessions)))
        for session in self.sessions:
            found.update(encode(session))
        found.update(without[before + 1 :])  # behind the empty array
        return found.hexdigest()


def array_header(length: int) -> bytes:
    """Return what msgpack writes before the entries of an array."""
    if length < 16:
        return bytes([0x90 | length])
    return b"\xdc" + length.to_bytes(2) if length < 1 << 16 else b"\xdd" + length.to_bytes(4)


class RequestDrafts(NamedTuple):
    """Holds the drafts of a workload, which are made as they are asked for, and notes about all that were made."""

    each: Iterable[Draft]
    timestamps: list[float]  # that a trace recorded for them, or zeros
    notes: Callable[[], list[str]]

    @classmethod
    def made(cls, drafts: list[Draft], notes: list[str]) -> "RequestDrafts":
        return cls(drafts, [draft.timestamp_seconds for draft in drafts], lambda: notes)


class Size(NamedTuple):
    """Holds the tokens that a request needs room for."""

    request_id: str
    input_len: int
    output_len: int


def make_plan(workload: Workload, encode: Encode | None = None, encode_chat: EncodeChat | None = None) -> Plan:
    """Make the plan; `encode` turns a dataset's text into token ids, `encode_chat` the conversations of questions."""
    drafts, arrivals = drafts_of(workload, encode, encode_chat), workload.arrivals
    loop = None
    if isinstance(arrivals, ClosedLoop):
        loop = Loop(arrivals.users, nanoseconds(arrivals.pace_seconds), nanoseconds(arrivals.spread_seconds))
    pause = workload.prompts.pause_seconds if isinstance(workload.prompts, Conversations) else 0.0
    made = sessions_of(workload, drafts)
    return Plan(
        StoredList(made, list[Session]) if len(drafts.timestamps) > MOST_HELD else list(made),
        workload.sampling,
        workload.seed,
        loop,
        nanoseconds(pause),
        workload.max_concurrency,
        drafts.notes(),
        deadline_ns=None if workload.deadline_seconds is None else nanoseconds(workload.deadline_seconds),
        steps=steps_of(arrivals) if isinstance(arrivals, Steps) else [],
        measured=workload.measured,
    )


def sessions_of(workload: Workload, drafts: RequestDrafts) -> Iterator[Session]:
    """Yield the sessions in the order of arrival."""
    chances, arrivals = Chances(workload.seed), workload.arrivals
    closed = isinstance(arrivals, ClosedLoop | Steps)
    offsets = offsets_seconds(arrivals, drafts.timestamps, chances.stream("arrivals"))
    thinking, speed = chances.stream("thinking"), arrivals.speed if isinstance(arrivals, Replay) else 1.0
    for number, (draft, offset) in enumerate(zip(drafts.each, offsets, strict=True)):
        yield Session(
            requests=[
                request_of(turn, request_id(workload, number) + (f".{place}" if len(draft.turns) > 1 else ""), speed)
                for place, turn in enumerate(draft.turns)
            ],
            arrival_ns=None if closed else nanoseconds(offset),
            rest_ns=nanoseconds(think_seconds(arrivals, thinking)) if isinstance(arrivals, ClosedLoop) else 0,
        )


def request_of(turn: Turn, name: str, speed: float) -> Request:
    pause_ns = nanoseconds(turn.pause_seconds / speed)
    return Request(name, turn.prompt, turn.output_len, turn.question_id, pause_ns, turn.whole)


def request_id(workload: Workload, session: int) -> str:
    """Return the id of a session's request, without the number of the turn."""
    further = workload.measured is not None and session >= workload.measured
    return f"{FURTHER if further else ''}{session}"


def steps_of(arrivals: Steps) -> list[UserStep]:
    pause_ns = nanoseconds(arrivals.pause_seconds)
    return [UserStep(users, users * arrivals.requests, pause_ns) for users in arrivals.levels]


def nanoseconds(seconds: float) -> int:
    if not abs(seconds) < MOST_SECONDS:
        raise InputError(f"a request would arrive {seconds:.3g} s after the start: give other rates, times or pauses")
    return round(seconds * SECOND_NS)


def drafts_of(workload: Workload, encode: Encode | None, encode_chat: EncodeChat | None) -> RequestDrafts:
    """Draw the prompts and answer lengths."""
    prompts, count, chances = workload.prompts, workload.num_prompts, Chances(workload.seed)
    if isinstance(prompts, Trace):
        return RequestDrafts.made(*trace_drafts(prompts, count, chances))
    if isinstance(prompts, RandomPrompts | SharedPrefix | Conversations):
        return synthetic_drafts(workload, prompts)
    length, notes = workload.output_len, list[str]()
    output = None if length is None else Lengths(length, chances.stream("output lengths"))
    match prompts:
        case Questions() if encode_chat is not None:
            assert output is not None
            drafts = question_drafts(prompts, count, output, encode_chat, chances.stream("questions"))
        case Dataset() if encode is not None:
            drafts, notes = dataset_drafts(prompts, count, output, encode, chances.stream("dataset"))
        case Texts() if encode is not None:
            assert count is not None
            assert output is not None
            drafts = list(text_drafts(prompts, count, output, encode, chances.stream("texts")))
        case _:
            place = next(iter(prompt_files(prompts)), "workload.prompts.texts")
            raise InputError(f"{place} holds text, but this model has no tokenizer: use prompts of token ids")
    return RequestDrafts.made(drafts, notes + (output.notes("answers") if output else []))


def synthetic_drafts(workload: Workload, prompts: RandomPrompts | SharedPrefix | Conversations) -> RequestDrafts:
    count = workload.num_prompts
    assert count is not None
    assert workload.output_len is not None
    drawing = Drawing(workload.seed, prompts.input_len, workload.output_len)
    match prompts:
        case RandomPrompts():
            drafts = random_drafts(drawing, count)
        case SharedPrefix():
            drafts = shared_prefix_drafts(prompts, drawing, count)
        case Conversations():
            drafts = conversation_drafts(prompts, drawing, count)
    return RequestDrafts(drafts, [0.0] * count, lambda: drawing.notes)


def sizes(plan: Plan) -> Iterator[Size]:
    """Yield the size of every request; a turn's prompt holds all earlier turns with answers of full length."""
    for session in plan.sessions:
        length = 0
        for request in session.requests:
            length = len(request.prompt_token_ids) + (0 if request.whole else length)
            yield Size(request.id, length, request.output_len)
            length += request.output_len


def check_fits(plan: Plan, max_model_len: int) -> None:
    """Refuse empty prompts, and requests longer than `max_model_len`, whose answers vLLM would silently cut."""
    empty, too_long = list[Size](), list[Size]()
    for size in sizes(plan):
        if not size.input_len:
            empty.append(size)
        if size.input_len + size.output_len > max_model_len:
            too_long.append(size)
    if empty:
        first = empty[0].request_id
        raise InputError(f"{len(empty)} of {plan.num_requests} requests (first {first}) are empty: leave them out")
    if not too_long:
        return
    worst = max(too_long, key=lambda size: size.input_len + size.output_len)
    raise InputError(
        f"{len(too_long)} of {plan.num_requests} requests are longer than max_model_len = {max_model_len}, the longest "
        f"(request {worst.request_id}) {worst.input_len} tokens in and {worst.output_len} out: shorten them, or raise "
        "max_model_len"
    )
