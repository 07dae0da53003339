"""A text's token ids as windows: which of them a model sees together, and which of those are scored."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence
from typing import NamedTuple

from engine_probe.errors import InputError
from engine_probe.perplexity.spec import Quality


class Window(NamedTuple):
    token_ids: list[int]
    first_scored: int  # the first token has nothing before it to be predicted from

    @property
    def scored(self) -> int:
        return len(self.token_ids) - self.first_scored


def cut(token_ids: Sequence[int], asked: Quality, bos: int | None = None) -> tuple[list[Window], int]:
    """The windows, and how many tokens at the end of the text are in none of them."""
    begin_with = [bos] if asked.bos == "window" and bos is not None else []
    seen = asked.window - len(begin_with)  # of the text
    windows = []
    for begin in range(0, len(token_ids) - seen + 1, asked.step):
        context = asked.overlap if begin else 0
        first = max(1, len(begin_with) + context)
        windows.append(Window([*begin_with, *token_ids[begin : begin + seen]], first))
    if not windows:
        raise InputError(
            f"{asked.text} has {len(token_ids):,} tokens, too few for one window of {asked.window:,}: give a longer "
            "text or a smaller window"
        )
    used = windows[: asked.windows]
    return used, len(token_ids) - (len(used) - 1) * asked.step - seen


def checksum(windows: Sequence[Window]) -> str:
    """The same for the same questions: only then are the scores of two engines a pair."""
    digest = hashlib.sha256()
    for window in windows:
        digest.update(array("q", [window.first_scored, *window.token_ids]).tobytes())
    return digest.hexdigest()
