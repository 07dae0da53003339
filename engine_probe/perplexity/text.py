"""Reading the text to score from a local file."""

import hashlib
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from engine_probe.errors import InputError
from engine_probe.files.safe_read import read_bytes
from engine_probe.perplexity.perplexity_spec import Quality

SPECIAL_TOKENS = 2  # a tokenizer may add one at each end of a text


def read_text(quality: Quality, where: str = "", way_out: str = "give a text in UTF-8") -> str:
    """Read the text as it is to be encoded; refuse a file that holds none. `where` names the setting in errors."""
    path = Path(quality.text).expanduser()
    start = f"{where}{quality.text}"
    if not path.exists():
        raise InputError(f"{start}: there is no such file: {way_out}")
    try:
        content = read_bytes(path)
    except InputError as error:
        raise InputError(f"{where}{error}: {way_out}") from error
    if b"\0" in content:
        raise InputError(f"{start} is binary, not text: {way_out}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{start} is not UTF-8 at byte {error.start}: {way_out}") from error
    if not text.strip():
        raise InputError(f"{start} is empty: {way_out}")
    text = text.replace("\r\n", "\n")
    # Every token of a text is at least one byte long.
    if quality.per == "token" and len(content) + SPECIAL_TOKENS < quality.window:
        raise InputError(
            f"{start} has {len(content):,} bytes, too few for one window of {quality.window:,} tokens: give a longer "
            "text or a smaller window"
        )
    return joined(text) if quality.lines == "joined" else text


def text_sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def joined(text: str) -> str:
    """Put an empty line between all lines, and empty the blank ones."""
    return "\n\n".join(line if line.strip() else "" for line in text.splitlines(keepends=True))


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
