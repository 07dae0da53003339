"""A verdict on one answer."""

from typing import NamedTuple


class Verdict(NamedTuple):
    """Holds True or False and what it rests on, or None and why nothing was judged."""

    value: bool | None
    reason: str = ""


def not_judged(reason: str) -> Verdict:
    return Verdict(None, reason)
