"""Writers in these tests write only when the test calls `drain`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from engine_probe.record import writer


@pytest.fixture(autouse=True, scope="module")
def hours_between_flushes() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "FLUSH_SECONDS", 3_600)
        yield
