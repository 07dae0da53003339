"""Random operands: normal numbers, made quickly enough that making them is not the longest part of a test."""

from __future__ import annotations

from typing import Any

import torch

TILE = 4_194_301  # values; a prime, so that repeats do not line up with the rows of a matrix


def normal(shape: tuple[int, ...], dtype: Any, place: Any) -> Any:
    """Return normal numbers; on a processor, which makes them slowly, a random tile is repeated beyond `TILE` values.

    A GPU gets fresh ones throughout: it draws less power on regular data and runs faster than it would at work.
    """
    made = torch.empty(shape, dtype=dtype, device=place)
    flat = made.view(-1)
    if made.device.type != "cpu" or len(flat) <= TILE:
        return made.normal_()
    tile = torch.randn(TILE, dtype=dtype)
    for start in range(0, len(flat), TILE):
        part = flat[start : start + TILE]
        part.copy_(tile[: len(part)])
    return made
