"""The output of a command whose result is a document: the files that are asked for, and the terminal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine_probe.files.new_file import STANDARD_OUTPUT, fresh_file

if TYPE_CHECKING:
    from engine_probe.report.document import Document

File = tuple[Path | None, Callable[[], bytes]]


def page_file(page: Path | None, document: Callable[[], Document]) -> File:
    """Return where --html writes its page, and a function that makes it."""
    from engine_probe.report.renderers.html_document import html_page

    return page, lambda: html_page(document()).encode()


def json_file(path: Path | None, figures: Callable[[], object]) -> File:
    """Return where --json writes its figures, and a function that makes them."""
    import json

    return path, lambda: json.dumps(figures(), indent=1).encode() + b"\n"


def show_document(
    document: Document, *files: File, verbose: bool = False, more: str = "", lines: int | None = None
) -> bool:
    """Write the files, then print the document; last, because its reader may close the pipe early.

    Nothing is printed if a file is standard output. Return whether the document was printed.
    """
    from engine_probe.commands.options.console import PIPED_WIDTH, output_console
    from engine_probe.report.renderers.terminal import print_document

    asked = [(path, content) for path, content in files if path is not None]
    for path, content in asked:
        with fresh_file(path) as file:
            file.write(content())
    if any(path == STANDARD_OUTPUT for path, _ in asked):
        return False
    print_document(document, output_console(PIPED_WIDTH), verbose, more, lines)
    for path, _ in asked:
        click.echo(f"\n{path}")
    return True
