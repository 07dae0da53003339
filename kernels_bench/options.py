"""Options of a command: their headings on its help page, and the types of files and numbers."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click

FILE = click.Path(path_type=Path)


class Number(click.FloatRange):
    """A range without NaN, and without infinity unless `infinite`."""

    def __init__(self, *, infinite: bool = False, **limits: Any) -> None:
        super().__init__(**limits)
        self._infinite = infinite
        self.words = "a number" if infinite else "a finite number"  # for errors

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if math.isnan(number) or (math.isinf(number) and not self._infinite):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


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
