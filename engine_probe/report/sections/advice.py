"""Advice in the terminal and on the page: by role, each sentence with its rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from rich.console import RenderableType
from rich.text import Text

from engine_probe.analysis.advice import advice
from engine_probe.analysis.advice.curve_case import Advice, Case, Pool
from engine_probe.engine.parallelism import recorded_rank_count
from engine_probe.evaluation.published import plain_model
from engine_probe.recordings.curve import Curve
from engine_probe.recordings.sweep import Swept
from engine_probe.report.renderers.html_elements import Html, element, joined, says
from engine_probe.text_format import plain


def advised(swept: Swept, curves: Sequence[Curve]) -> list[Advice]:
    return advice([case for curve in curves if (case := case_of(swept, curve)) is not None])


def case_of(swept: Swept, curve: Curve) -> Case | None:
    run = next((point.run for point in swept.curves[curve.label] if point.run and point.anatomy), None)
    if run is None:
        return None
    kv = run.facts["kv"]
    return Case(
        settings=curve.settings,
        unit=curve.unit,
        found=curve.found,
        figures=curve.figures,
        model=plain_model(run.facts["model"]["name"]),
        pool=Pool(
            blocks=kv["blocks"],
            block_tokens=kv["block_size_tokens"],
            block_bytes=kv["bytes_per_block"],
            layers=run.facts["model"]["num_layers"],
            kv_heads=run.facts["model"]["num_kv_heads"],
            head_size=run.facts["model"]["head_size"],
        ),
        ranks=recorded_rank_count(run.facts) or 1,
    )


def with_rows(found: Advice) -> str:
    return f"{found.text} [rows: {'; '.join(found.rows)}]"


def advice_lines(found: Sequence[Advice]) -> Iterator[RenderableType]:
    """Short: the first sentence of each role."""
    if found:
        yield Text("\nAdvice", "bold")
    for role, sentences in groupby(found, key=lambda each: each.role):
        several = list(sentences)
        more = f" ({len(several) - 1} more on the page)" if len(several) > 1 else ""
        yield Text.assemble((f"{role}: ", "bold"), plain(f"{with_rows(several[0])}{more}"))


def advice_section(found: Sequence[Advice]) -> Html:
    if not found:
        return Html()
    parts = [element("h2", "Advice, from these levels alone")]
    for role, sentences in groupby(found, key=lambda each: each.role):
        parts += [element("h3", f"For the {role}"), says(map(with_rows, sentences))]
    return joined(parts)
