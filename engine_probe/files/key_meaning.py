"""The meaning of a key of a file, kept in its type for docs, editors and `sweep --init`."""

from __future__ import annotations

import msgspec


def about(description: str, example: object = None) -> msgspec.Meta:
    """Describe a key in `Annotated`: its meaning, and an example that is not its default."""
    return msgspec.Meta(description=description, examples=None if example is None else [example])
