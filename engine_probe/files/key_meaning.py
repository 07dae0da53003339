"""The meaning of a key of a file, kept in its type: docs, editors and `sweep --init` read it there."""

from __future__ import annotations

import msgspec


def about(description: str, example: object = None) -> msgspec.Meta:
    """For `Annotated`: what the key means, and a value that is not its default."""
    return msgspec.Meta(description=description, examples=None if example is None else [example])
