"""Headings for the options of a command's help page."""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import click

OTHER = "Help"

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


class GroupedOption(click.Option):
    """An option that belongs under a heading of the help page."""

    def __init__(self, *arguments: Any, heading: str = OTHER, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.heading = heading

    def make_metavar(self, ctx: click.Context) -> str:
        """Return N for any number; click would show its range, and the help text names the limits that matter."""
        if self.metavar is None and isinstance(self.type, click.types.IntParamType | click.types.FloatParamType):
            return "N"
        return super().make_metavar(ctx)

    def get_help_extra(self, ctx: click.Context) -> Any:
        extra = super().get_help_extra(ctx)
        extra.pop("range", None)
        return extra


def under(heading: str) -> Callable[..., Callable[[Decorated], Decorated]]:
    """Return `click.option` for options below this heading."""
    return partial(click.option, cls=GroupedOption, heading=heading)


class GroupedHelp(click.Command):
    """Shows its options under their headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
            if record is not None:
                sections.setdefault(getattr(parameter, "heading", OTHER), []).append(record)
        self.add_rows(sections)
        other = sections.pop(OTHER, [])
        for heading, rows in (*sections.items(), (OTHER, other)):
            if rows:
                with formatter.section(heading):
                    formatter.write_dl(rows)

    def add_rows(self, sections: dict[str, list[tuple[str, str]]]) -> None:
        """Add rows that are not parameters of this command."""
