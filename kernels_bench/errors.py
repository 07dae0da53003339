"""The errors a person sees: one sentence each, and the exit code that belongs to it.

They are click's own kind, so that `python -m kernels_bench` and `engine_probe validate` show them alike.
"""

from __future__ import annotations

from typing import IO, Any

import click

from page_kit.plain_text import plain


class BenchError(click.ClickException):
    """Base of everything kernels_bench raises on purpose."""

    exit_code = 3

    def show(self, file: IO[Any] | None = None) -> None:

        click.echo(f"kernels_bench: {plain(self.message)}", file=file, err=file is None)


class InputError(BenchError):
    """What was asked for cannot be right: a wrong name, value or file."""

    exit_code = 2


class UnavailableError(BenchError):
    """The request is fine, but this machine cannot serve it: no torch, no GPU, no second GPU."""

    exit_code = 3
