"""The console for results, which prints names from outside as text and never as markup or control sequences."""

import os
import sys
from typing import Any

from rich.console import Console
from rich.text import Text

from engine_probe.text_format import plain

PIPED_WIDTH = 100  # of a summary in a pipe


class PlainConsole(Console):
    """Prints strings, in tables too, as they are: no markup, no emoji names, control characters spelled out."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str("\n".join(map(plain, text.split("\n"))), **options)


def output_console(piped_width: int | None = None) -> PlainConsole:
    """Return a console on standard output; in a pipe, which has no width, it has `piped_width`."""
    return PlainConsole(width=piped_width if is_piped() and "COLUMNS" not in os.environ else None)


def is_piped() -> bool:
    return not sys.stdout.isatty()
