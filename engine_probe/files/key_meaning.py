"""The meaning of a key of a file, kept in its type for docs, editors and `sweep --init`."""

from typing import Any

import msgspec


def about(description: str, example: object = None, **limits: Any) -> msgspec.Meta:
    """Describe a key in `Annotated`: its meaning, an example that is not its default, and limits such as `ge=0`."""
    return msgspec.Meta(description=description, examples=None if example is None else [example], **limits)
