"""Bounds on changes, such as "output_tokens_per_s < -5%", which fail a CI job.

A bound is one planned test of one metric, so it is judged by a one-sided test at 5 % and not corrected: Welch's test of
the repeats after against those before shifted to the bound, with the pooled noise of the curve. The bound is broken or
holds if the test is significant; otherwise it is undecided. Without repeats the change itself is compared.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Literal

import numpy as np

from engine_probe.analysis.compare.changes import METRICS, PERPLEXITY, SIGNIFICANT, Change, difference
from engine_probe.analysis.compare.perplexity import PairedChange
from engine_probe.errors import InputError

FORM = re.compile(r"\s*(\w+)\s*([<>])\s*([+-]?\d+(?:\.\d+)?)\s*%\s*")


Answer = Literal["holds", "broken", "cannot tell"]


@dataclass(frozen=True)
class Judged:
    answer: Answer
    p: float | None  # one-sided; None without repeats on both sides


@dataclass(frozen=True)
class Gate:
    text: str
    metric: str
    below: bool
    percent: float

    def judge(self, change: Change) -> Judged:
        """Judge a change; a change from zero exceeds every upper bound."""
        if change.paired is not None:
            return self._judge_pairs(change.paired)
        at_bound = [value * (1 + self.percent / 100) for value in change.old]
        together = change.noise.difference if change.noise is not None and self.percent > -100 else difference
        both, around = together(at_bound, change.new)
        p = None if both is None else both / 2
        away = change.after - float(np.mean(at_bound))
        beyond = away < 0 if self.below else away > 0
        if p is not None and p >= SIGNIFICANT and around != (0.0, 0.0):  # unless all repeats lie on the bound
            return Judged("cannot tell", p)
        return Judged("broken" if beyond else "holds", p)

    def _judge_pairs(self, paired: PairedChange) -> Judged:
        """Judge by the windows that both sides scored."""
        bound = self.percent / 100
        both = paired.p(bound) if bound > -1 else None
        p = None if both is None else both / 2
        away = paired.relative - bound
        if p is not None and p >= SIGNIFICANT and paired.nats.error:
            return Judged("cannot tell", p)
        return Judged("broken" if (away < 0 if self.below else away > 0) else "holds", p)


def read_gate(text: str) -> Gate:
    found = FORM.fullmatch(text)
    if not found:
        raise InputError(f'--fail-if {text!r} is not a bound: write it as "output_tokens_per_s < -5%"')
    name, sign, percent = found.groups()
    names = [metric.name for metric in (*METRICS, PERPLEXITY)]
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(names)}"
        raise InputError(f"--fail-if {text!r}: there is no metric {name}: {hint}")
    return Gate(text, name, sign == "<", float(percent))
