"""How the cards were while steps ran: a sentence for each, and a strip of when and why their clocks were reduced."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import pyarrow as pa

from engine_probe.analysis.run.gpu_health import (
    REASONS,
    Extent,
    GpuHealth,
    devices,
    gpu_health,
    reduced_spans,
    rows_of,
)
from engine_probe.errors import InputError
from engine_probe.recordings.run import Run
from engine_probe.report.charts.model import Spans
from engine_probe.report.document import Picture, Section, says
from engine_probe.text_format import percent


def health_section(runs: Sequence[Run], charts: Callable[[], Iterable[Picture]] = tuple) -> Section:
    """Return a sentence for each GPU, and one in front where clocks were reduced or memory failed."""
    cards = list(card_samples(runs))
    against = says(health_cautions({name: gpu_health(tables) for name, tables in cards}), "caution")
    sentences = (*against, *says(health_words(cards)))
    title = "GPU health during the run" if len(runs) == 1 else "GPU health during the runs"
    return Section(title if cards else "The host meanwhile", sentences=sentences, charts=charts)


def health_cautions(cards: dict[str, GpuHealth]) -> Iterator[str]:
    if reduced := {name: card.any_reduced for name, card in cards.items() if card.any_reduced}:
        worst = max(reduced, key=lambda name: reduced[name])
        most = "" if len(cards) == 1 else f" on {len(reduced)} of {len(cards)} GPUs, most on {worst}:"
        yield f"GPU clocks were reduced{most} in {percent(reduced[worst])} of the samples."
    if failed := [name for name, card in cards.items() if card.ecc_errors]:
        yield f"New uncorrected memory errors (ECC): {', '.join(failed)}."


def health_words(cards: Sequence[tuple[str, list[pa.Table]]]) -> Iterator[str]:
    for name, tables in cards:
        yield f"{name}: {'; '.join(sentences(gpu_health(tables)))}."


def card_samples(runs: Sequence[Run]) -> Iterator[tuple[str, list[pa.Table]]]:
    """Yield each GPU that was sampled in any run, with its rows; a run whose telemetry is damaged says so elsewhere."""
    cards: dict[tuple[str, int], list[pa.Table]] = {}
    for run in runs:
        rows = sampled(run)
        for device in devices(rows) if rows is not None else ():
            cards.setdefault((run.facts["process"]["host"], device), []).append(rows_of(rows, device))
    hosts = {host for host, _ in cards}
    for (host, device), tables in sorted(cards.items()):
        yield f"GPU {device}{f' of {host}' if len(hosts) > 1 else ''}", tables


def sampled(run: Run) -> pa.Table | None:
    try:
        return run.telemetry
    except InputError:
        return None


def sentences(card: GpuHealth) -> Iterator[str]:
    if card.any_reduced is None:
        yield "whether its clocks were reduced was not told"
    elif card.any_reduced:
        reasons = ", ".join(f"{name} {percent(share)}" for name, share in card.reduced.items())
        yield f"clocks reduced in {percent(card.any_reduced)} of {card.judged:,} samples ({reasons})"
    else:
        yield f"clocks never reduced in {card.judged:,} samples"
    if card.sm_clock_mhz:
        yield f"SM clock {between(card.sm_clock_mhz, 'MHz')}"
    if card.temperature_c:
        yield f"at most {card.temperature_c.most:.0f} °C"
    if card.power_w:
        yield f"{card.power_w.mean:,.0f} W on average, {card.power_w.most:,.0f} W at most"
    if card.states:
        first, last = card.states[0], card.states[-1]
        yield f"P-state {first}" if first == last else f"P-states {first} to {last}"
    yield from errors(card)


def errors(card: GpuHealth) -> Iterator[str]:
    found = {"uncorrected": card.ecc_errors, "corrected": card.ecc_corrected_errors}
    told = {kind: count for kind, count in found.items() if count is not None}
    if told:
        many = ", ".join(f"{count:,} {kind}" for kind, count in told.items() if count)
        yield f"new ECC errors: {many or 'none'}"


def between(found: Extent, unit: str) -> str:
    least, most = f"{found.least:,.0f}", f"{found.most:,.0f}"
    return f"{most} {unit}" if least == most else f"{least} to {most} {unit}"


def reduced_strip(table: pa.Table, origin: int, name: str) -> Iterator[Spans]:
    """A row for each card; nothing where none was held back."""
    cards = devices(table)
    spans = [(row, *span) for row, device in enumerate(cards) for span in reduced_spans(rows_of(table, device))]
    kinds = [bit for bit in REASONS if any(bit == used for _, used, _, _ in spans)]
    if spans:
        yield Spans(
            title="Clocks reduced, when and why",
            note="As NVML told it beside the steps; where several reasons hold, the gravest.",
            kinds=[REASONS[bit] for bit in kinds],
            rows=[f"GPU {device}" for device in cards],
            spans=[
                (row, kinds.index(bit), round((begin - origin) / 1e9, 6), round((end - origin) / 1e9, 6))
                for row, bit, begin, end in spans
            ],
            sync=name,
            named=True,
        )
