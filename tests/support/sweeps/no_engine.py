"""What stands where a sweep has its engines, in tests of what is decided without one."""

from __future__ import annotations

from typing import Any


class NoEngine:
    """Engines that must not be started."""

    def engines(self, *asked: Any) -> list[NoEngine]:
        return [self]

    def measure(self, *asked: Any) -> Any:
        raise AssertionError("an engine is started for it")

    def close(self) -> None:
        pass

    def run_groups(self, groups: Any, side_by_side: bool = True) -> None:
        for group in groups:
            group()
