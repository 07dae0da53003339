"""Prompts of exact token lengths; the same seed gives the same bytes."""

from __future__ import annotations

import random

FIRST_TOKEN_ID, LAST_TOKEN_ID = 10, 250  # in the vocabulary of every model, and no special token


def random_prompts(count: int, length: int, seed: int) -> list[list[int]]:
    """So many prompts of so many token ids; the first of more are those of fewer."""
    chance = random.Random(seed)
    return [[chance.randint(FIRST_TOKEN_ID, LAST_TOKEN_ID) for _ in range(length)] for _ in range(count)]
