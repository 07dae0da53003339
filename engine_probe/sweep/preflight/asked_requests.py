"""The lengths of the requests that a point will send, from its description, a seed and the files that are here."""

import json
from collections.abc import Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from engine_probe.engine.memory_model import BLOCK
from engine_probe.engine.models.embedded import EMBEDDED, place_of
from engine_probe.errors import EngineProbeError
from engine_probe.sweep.definition.sweep_file import Point
from engine_probe.sweep.preflight.pool_demand import held_by
from engine_probe.workload.dataset_file import Dataset, Texts
from engine_probe.workload.question_set.chat_tokens import chat_encoder
from engine_probe.workload.question_set.question_prompts import Questions
from engine_probe.workload.request_plan import Loop, Plan, Session, UserStep, make_plan
from engine_probe.workload.workload_run import text_encoder
from engine_probe.workload.workload_spec import Prompts

if TYPE_CHECKING:
    from jinja2 import Template

MOST_REQUESTS = 5_000  # whose tokens are made to know their lengths


class AskedRequest(NamedTuple):
    """One request: tokens that the prefix cache may have, those that it has not, and those of the answer."""

    shared: int  # of prompts of other sessions
    history: int  # of its own conversation
    new: int
    answer: int
    pause_ns: float  # before it, after the answer to the turn before

    @property
    def before(self) -> int:
        return self.shared + self.history

    @property
    def own(self) -> int:
        """Return the tokens at its end that it alone keeps in the pool."""
        return self.history + self.new + self.answer


class AskedRequests(NamedTuple):
    """All requests of a point, in the order in which they are sent."""

    sessions: list[list[AskedRequest]]
    arrivals_ns: list[float | None]  # None: when a user is free
    rest_ns: list[float]  # of the user, after each session
    measured: int  # sessions; the point ends with the last of them
    most_at_once: int | None  # sessions
    loop: Loop | None = None
    levels: tuple[UserStep, ...] = ()


def asked_requests(point: Point) -> AskedRequests | None:
    """Return the requests of a point. None where a file or a tokenizer is not here, or where they are too many."""
    work, held = point.workload, held_by(point, 1)
    caching = point.engine.arguments.get("enable_prefix_caching", True) is not False
    if held is not None and work.in_flight is not None:
        shared, count = held.shared_tokens if caching else 0, len(held.own)
        sessions = [[AskedRequest(shared, 0, max(1, own), answer, 0.0)] for own, answer in held.own]
        return AskedRequests(
            sessions, [None] * count, [0.0] * count, held.measured, work.in_flight, Loop(work.in_flight, 0, 0)
        )
    if (work.most_requests or 0) > MOST_REQUESTS:
        return None
    try:
        tokenizer, prompts = tokenizer_of(point.engine.model, work.prompts), work.prompts
        chat = chat_encoder(tokenizer, prompts.paths[0]) if isinstance(prompts, Questions) and tokenizer else None
        texts = text_encoder(tokenizer, prompts) if isinstance(prompts, Dataset | Texts) and tokenizer else None
        return of_plan(make_plan(work.description(), texts, chat), KeptBlocks(point) if caching else None)
    except (EngineProbeError, OSError):  # of a file that is not here, which the dry run names
        return None


class KeptBlocks:
    """The blocks of prompts that a prefix cache of unlimited size would hold."""

    def __init__(self, point: Point) -> None:
        given = point.engine.arguments.get("block_size")
        self._block, self._seen = given if isinstance(given, int) else BLOCK, set[int]()

    def add(self, tokens: Sequence[int]) -> int:
        """Return how many tokens at the beginning of a prompt are there already, and keep all of its blocks."""
        hits, chain, unbroken = 0, 0, True
        for end in range(self._block, len(tokens) + 1, self._block):
            chain = hash((chain, *tokens[end - self._block : end]))
            unbroken = unbroken and chain in self._seen and end < len(tokens)  # the last token is always computed
            hits = end if unbroken else hits
            self._seen.add(chain)
        return hits


def of_plan(plan: Plan, kept: KeptBlocks | None) -> AskedRequests:
    return AskedRequests(
        [turns(session, plan.turn_pause_ns, kept) for session in plan.sessions],
        [session.arrival_ns for session in plan.sessions],
        [session.rest_ns for session in plan.sessions],
        plan.num_measured,
        plan.max_concurrency,
        plan.loop,
        tuple(plan.steps),
    )


def turns(session: Session, pause_ns: int, kept: KeptBlocks | None) -> list[AskedRequest]:
    found: list[AskedRequest] = []
    history = 0  # tokens of the conversation so far
    for number, request in enumerate(session.requests):
        length = len(request.prompt_token_ids) + (0 if request.whole else history)
        shared = kept.add(request.prompt_token_ids) if kept is not None and not number else 0
        known = min(history, length - 1) if kept is not None else 0
        pause = request.pause_ns + (pause_ns if number else 0)
        found.append(AskedRequest(shared, known, length - shared - known, request.output_len, pause))
        history = length + request.output_len
    return found


class ChatTokenizer:
    """The tokenizer of an embedded model's folder, as vLLM's is used here, without importing transformers."""

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        template, config = folder / "chat_template.jinja", folder / "tokenizer_config.json"
        self.chat_template: str = (
            template.read_text(encoding="utf-8")
            if template.is_file()
            else json.loads(config.read_text(encoding="utf-8")).get("chat_template", "")
        )

        self._known: dict[str, list[int]] = {}
        self._rendered: dict[tuple[object, ...], str] = {}

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        if text not in self._known:
            self._known[text] = list(self._tokenizer.encode(text, add_special_tokens=add_special_tokens).ids)
        return self._known[text]

    def apply_chat_template(
        self, messages: list[dict[str, str]], add_generation_prompt: bool, tokenize: bool = True, **_: Any
    ) -> list[int] | str:
        asked = (add_generation_prompt, *(tuple(message.items()) for message in messages))
        if asked not in self._rendered:  # the points of a sweep ask the same
            self._rendered[asked] = self._template.render(
                messages=messages, add_generation_prompt=add_generation_prompt
            )
        text = self._rendered[asked]
        return self.encode(text, add_special_tokens=False) if tokenize else text

    @cached_property
    def _template(self) -> "Template":
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        return ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(self.chat_template)


def tokenizer_of(model: str, prompts: Prompts | None) -> ChatTokenizer | None:
    """Return the tokenizer that these prompts need. None if they need none, or if it is not here."""
    if not isinstance(prompts, Questions | Texts | Dataset) or model not in EMBEDDED:
        return None
    return _chat_tokenizer(model)


@cache
def _chat_tokenizer(model: str) -> ChatTokenizer | None:
    return ChatTokenizer(place_of(model)) if (place_of(model) / "tokenizer.json").is_file() else None
