"""Random operands: normal numbers, made quickly even in large numbers."""

from typing import Any

import torch

TILE = 4_194_301  # values; a prime, so that repeats do not line up with the rows of a matrix


def normal(shape: tuple[int, ...], dtype: Any, device: Any) -> Any:
    """Return normal numbers; on a CPU, which makes them slowly, `TILE` of them are repeated.

    On a GPU all are random, because regular data takes less power, so that the GPU would run faster than in real work.
    """
    values = torch.empty(shape, dtype=dtype, device=device)
    flat = values.view(-1)
    if values.device.type != "cpu" or len(flat) <= TILE:
        return values.normal_()
    tile = torch.randn(TILE, dtype=dtype)
    for start in range(0, len(flat), TILE):
        part = flat[start : start + TILE]
        part.copy_(tile[: len(part)])
    return values
