"""Types of options: files, and numbers without NaN, which click's own ranges accept."""

import math
from pathlib import Path
from typing import Any

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
