"""How much of a simulation or of a file a test takes: some of it every day, all of it in the slow stage."""

from __future__ import annotations

import pytest


def some_and_all(name: str, some: int, every: int) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        name, [some, pytest.param(every, marks=pytest.mark.slow)], ids=[f"some {name}", f"all {name}"]
    )
