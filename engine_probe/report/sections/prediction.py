"""The label of everything that is predicted: in the title, and first in the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from engine_probe.report.document import Section, Sentence
from engine_probe.text_format import counted

SURE = 1.645  # standard deviations to each side of a 90 % interval


def title(text: str, facts: Mapping[str, Any]) -> str:
    return f"Predicted: {text}" if "predicted" in facts else text


def with_prediction(verdict: Section, facts: Mapping[str, Any]) -> Section:
    """Return the verdict; that of a twin begins with what it is and how wrong its times may be."""
    if "predicted" not in facts:
        return verdict
    twin = facts["predicted"]
    times = twin["step_times"]
    text = f"vLLM's scheduler ran on a virtual clock, with step times from {twin['calibrated_from']}."
    if times.get("error") is not None:
        what = counted(times["recordings"], "part")
        text += f" Of {what} of it, predicted from the others, nine in ten lie within ± {SURE * times['error']:.1%}."
    return replace(verdict, sentences=(Sentence(text, "caution", label="Predicted"), *verdict.sentences))
