"""A text's token ids cut into windows, each of which the model sees by itself."""

import hashlib
from array import array
from collections.abc import Sequence
from typing import NamedTuple

from engine_probe.errors import InputError
from engine_probe.perplexity.spec import Quality


class Window(NamedTuple):
    token_ids: list[int]
    first_scored: int  # position of the first token that is scored; at least 1, as nothing predicts the first token

    @property
    def scored(self) -> int:
        return len(self.token_ids) - self.first_scored


def cut(token_ids: Sequence[int], quality: Quality, bos: int | None = None) -> tuple[list[Window], int]:
    """Return the windows, and the number of tokens after the last one."""
    prefix = [bos] if quality.bos == "window" and bos is not None else []
    size = quality.window - len(prefix)  # tokens of the text in a window
    windows = []
    for start in range(0, len(token_ids) - size + 1, quality.step):
        context = quality.overlap if start else 0
        first = max(1, len(prefix) + context)
        windows.append(Window([*prefix, *token_ids[start : start + size]], first))
    if not windows:
        raise InputError(
            f"{quality.text} has {len(token_ids):,} tokens, too few for one window of {quality.window:,}: give a "
            "longer text or a smaller window"
        )
    used = windows[: quality.windows]
    return used, len(token_ids) - (len(used) - 1) * quality.step - size


def checksum(windows: Sequence[Window]) -> str:
    """Return a checksum that two engines share if they scored the same tokens, so that their windows are pairs."""
    digest = hashlib.sha256()
    for window in windows:
        digest.update(array("q", [window.first_scored, *window.token_ids]).tobytes())
    return digest.hexdigest()
