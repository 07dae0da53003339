"""The text, read from a local file; what is no text is refused before an engine starts."""

from __future__ import annotations

import hashlib
from pathlib import Path

from engine_probe.errors import InputError
from engine_probe.files.safe_read import read_bytes
from engine_probe.perplexity.spec import Quality

SPECIAL_TOKENS = 2  # that a tokenizer may add around a text


def read_text(asked: Quality, where: str = "", way_out: str = "give a text in UTF-8") -> str:
    """As it is to be encoded; `where` is what a person calls the file's setting."""
    path = Path(asked.text).expanduser()
    start = f"{where}{asked.text}"
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
    # A token of a text stands for at least one byte of it.
    if len(content) + SPECIAL_TOKENS < asked.window:
        raise InputError(
            f"{start} has {len(content):,} bytes, too few for one window of {asked.window:,} tokens: give a longer "
            "text or a smaller window"
        )
    return joined(text) if asked.lines == "joined" else text


def text_sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def joined(text: str) -> str:
    """Lines with their ends, an empty line between each two, and blank lines emptied."""
    return "\n\n".join(line if line.strip() else "" for line in text.splitlines(keepends=True))
