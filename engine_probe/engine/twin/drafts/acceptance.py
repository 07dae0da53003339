"""How many of a request's draft tokens a twin's model accepts: given with vLLM's own setting, or measured in a run."""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

import msgspec

from engine_probe.errors import InputError

# Methods that need no second model, whose time and KV cache would not be known.
METHOD = "ngram"
ON_DEVICE = "ngram_gpu"  # the one of them that vLLM has with asynchronous scheduling: the device makes the drafts
GIVEN = "given"
SYNTHETIC = "synthetic_acceptance_rates"
HOW_TO_GIVE = (
    'give it as vLLM does for drafts without a model: rejection_sample_method = "synthetic" and '
    f"{SYNTHETIC} = [...], the share of drafts of which 1, 2, ... tokens are accepted"
)


class Acceptance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Shares by the place in a draft."""

    accepted: tuple[float, ...]  # of the drafts that reach a place, those of which it is accepted with all before it
    drafted: tuple[float, ...] = ()  # of a request's answer steps, those whose draft reaches a place; empty: all do
    source: str = GIVEN

    def __post_init__(self) -> None:
        for name, shares in (("accepted", self.accepted), ("drafted", self.drafted)):
            if not all(0 <= share <= 1 for share in shares) or list(shares) != sorted(shares, reverse=True):
                raise ValueError(f"{name} = {list(shares)} are no shares that fall from place to place")

    def tokens(self, drafted: int, *key: object) -> int:
        """Return how many tokens of a draft are accepted: by chance, and the same for the same key."""
        chance = chance_of("accepted", *key)
        return sum(chance < share for share in self.accepted[:drafted])

    def length(self, most: int, *key: object) -> int:
        """Return how long a draft is."""
        if not self.drafted:
            return most
        chance = chance_of("drafted", *key)
        return sum(chance < share for share in self.drafted[:most])


def chance_of(*key: object) -> float:
    """Return a number from 0 to 1 (never 1) that only its key decides."""
    digest = blake2b("/".join(map(str, key)).encode(), digest_size=7).digest()
    return int.from_bytes(digest) / (1 << 56)


def given_acceptance(arguments: Mapping[str, Any]) -> Acceptance | None:
    """Return the acceptance in an engine's arguments. None if they give none."""
    drafting = speculation(arguments)
    rates, length, number = drafting.get(SYNTHETIC), drafting.get("synthetic_acceptance_length"), tokens_of(arguments)
    name = f"engine.arguments.speculative_config.{SYNTHETIC}"
    if length is not None:
        raise InputError(
            f"{name.replace('rates', 'length')} = {length}: give {SYNTHETIC} in its place, one for a place"
        )
    if rates is None:
        return None
    if not isinstance(rates, list) or len(rates) != number:
        raise InputError(f"{name} = {rates!r}: give num_speculative_tokens = {number} numbers, one for each place")
    try:
        return msgspec.convert({"accepted": rates}, Acceptance)
    except msgspec.ValidationError as error:
        raise InputError(f"{name} = {rates!r}: {error}") from error


def check_drafts(arguments: Mapping[str, Any], measured: Acceptance | None) -> Acceptance | None:
    """Return the acceptance of an engine's drafts, None without drafts; refuse drafts that a twin cannot have."""
    drafting = speculation(arguments)
    if not drafting:
        return None
    name = "engine.arguments.speculative_config"
    if (method := drafting.get("method")) not in (METHOD, ON_DEVICE):
        raise InputError(f"{name}.method = {method!r}: {no_drafting_model(tokens_of(arguments))}")
    if arguments.get("async_scheduling") and method != ON_DEVICE:
        raise InputError(
            f'engine.arguments.async_scheduling = true: vLLM has it not with drafts of method "{METHOD}", but with '
            f'"{ON_DEVICE}"'
        )
    number = tokens_of(arguments)
    if (given := given_acceptance(arguments)) is not None:
        return given
    if measured is None:
        raise InputError(f"{name}: how many drafts the model accepts is not known: {HOW_TO_GIVE}")
    if number > len(measured.accepted):
        raise InputError(
            f"{name}.num_speculative_tokens = {number}: {measured.source} has drafts of at most "
            f"{len(measured.accepted)}: ask for no more, or {HOW_TO_GIVE}"
        )
    return cut(measured, number)


def no_drafting_model(number: int) -> str:
    """Say what a model that drafts so many tokens would add to a step and to the pool, none of which a twin has."""
    times = "once" if number == 1 else f"{number:,} times"
    slots = "1 KV slot" if number == 1 else f"{number:,} KV slots"
    return (
        f'a twin has drafts of method "{METHOD}" or "{ON_DEVICE}" only. A model that drafts would run {times} in each '
        f"step, reserve {slots} more for each running request, and keep weights and KV layers of its own, none of "
        f'which is modelled: "{METHOD}" with the same acceptance leaves them out (times are then too short, and the '
        "pool is too large)"
    )


def cut(acceptance: Acceptance, number: int) -> Acceptance:
    """Return the acceptance of drafts that end after so many tokens."""
    return msgspec.structs.replace(
        acceptance, accepted=acceptance.accepted[:number], drafted=acceptance.drafted[:number]
    )


def are_asynchronous(arguments: Mapping[str, Any]) -> bool:
    """Return whether vLLM may schedule a step before it knows how many drafts of the last one are accepted."""
    return speculation(arguments).get("method") == ON_DEVICE


def speculation(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return vLLM's `speculative_config`; empty without drafts."""
    found = arguments.get("speculative_config") or {}
    if not isinstance(found, Mapping):
        raise InputError(f"engine.arguments.speculative_config = {found!r}: a twin needs it as a table")
    return found


def tokens_of(arguments: Mapping[str, Any]) -> int:
    number = speculation(arguments).get("num_speculative_tokens")
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise InputError(
            f"engine.arguments.speculative_config.num_speculative_tokens = {number!r}: say how many tokens a draft has"
        )
    return number


def falling(shares: Sequence[float]) -> tuple[float, ...]:
    """Return shares of which none is above the one before it, as few drafts may show them."""
    found: list[float] = []
    for share in shares:
        found.append(min([share, *found[-1:]]))
    return tuple(found)
