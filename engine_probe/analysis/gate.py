"""A bound on a change, such as "output_tokens_per_s < -5%": what a CI job stops at."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

from engine_probe.analysis.comparison import METRICS, Change
from engine_probe.errors import InputError

FORM = re.compile(r"\s*(\w+)\s*([<>])\s*([+-]?\d+(?:\.\d+)?)\s*%\s*")


@dataclass(frozen=True)
class Gate:
    text: str
    metric: str
    below: bool
    percent: float

    def broken_by(self, change: Change) -> bool:
        """Not by a change that repeats show to be none; one from zero is beyond every bound above."""
        if change.verdict == "not different":
            return False
        if change.relative is None:
            return not self.below
        moved = 100 * change.relative
        return moved < self.percent if self.below else moved > self.percent


def read_gate(text: str) -> Gate:
    found = FORM.fullmatch(text)
    if not found:
        raise InputError(f'--fail-if {text!r} is no bound: write it as "output_tokens_per_s < -5%"')
    name, sign, percent = found.groups()
    names = [metric.name for metric in METRICS]
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(names)}"
        raise InputError(f"--fail-if {text!r}: there is no metric {name}: {hint}")
    return Gate(text, name, sign == "<", float(percent))
