"""Errors for the user: one sentence each, with its exit code.

They are click's exceptions, so that `python -m kernels_bench` and `engine_probe validate` both show them.
"""

from typing import IO, Any

import click

from page_kit.plain_text import plain


class BenchError(click.ClickException):
    """Base of all errors that kernels_bench raises on purpose; shown after the name of the program that was called."""

    exit_code = 3

    def __init__(self, message: str) -> None:
        super().__init__(message)
        context = click.get_current_context(silent=True)
        self.program = context.find_root().info_name if context else "kernels_bench"

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"{self.program}: {plain(self.message)}", file=file, err=file is None)


class InputError(BenchError):
    """Raised for a wrong name, value or file."""

    exit_code = 2


class UnavailableError(BenchError):
    """Raised if this machine cannot do what was asked for: no torch, no GPU, no second GPU."""
