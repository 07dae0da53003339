"""Elements of a page; see `page_kit`."""

from __future__ import annotations

from page_kit.html import Html, element, grid, joined, says, tiles

__all__ = ["Html", "element", "grid", "joined", "says", "tiles"]
