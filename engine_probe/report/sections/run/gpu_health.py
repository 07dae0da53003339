"""GPU health during a run: a sentence for each GPU, and a chart of when and why its clocks were reduced."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import pyarrow as pa

from engine_probe.analysis.run.gpu_health import (
    REASONS,
    Extent,
    GpuHealth,
    activity,
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
    """Return a sentence for each GPU, after cautions if clocks were reduced or memory failed."""
    gpus = {name: gpu_health(tables) for name, tables in gpu_samples(runs)}
    sentences = (
        *says(health_cautions(gpus), "caution"),
        *says(f"{name}: {'; '.join(phrases(gpu))}." for name, gpu in gpus.items()),
    )
    title = "GPU health during the run" if len(runs) == 1 else "GPU health during the runs"
    return Section(title if gpus else "Host during the run", sentences=sentences, charts=charts)


def health_cautions(gpus: dict[str, GpuHealth]) -> Iterator[str]:
    if reduced := {name: gpu.any_reduced for name, gpu in gpus.items() if gpu.any_reduced}:
        worst = max(reduced, key=lambda name: reduced[name])
        where = "" if len(gpus) == 1 else f" on {len(reduced)} of {len(gpus)} GPUs, most on {worst}:"
        yield f"GPU clocks were reduced{where} in {percent(reduced[worst])} of the samples."
    if failed := [name for name, gpu in gpus.items() if gpu.ecc_errors]:
        yield f"New uncorrected memory errors (ECC): {', '.join(failed)}."


def gpu_samples(runs: Sequence[Run]) -> Iterator[tuple[str, list[pa.Table]]]:
    """Yield the name and the samples of each GPU over all runs. Runs with damaged telemetry are left out."""
    gpus: dict[tuple[str, int], list[pa.Table]] = {}
    for run in runs:
        try:
            samples = run.telemetry
        except InputError:
            continue
        for device in devices(samples):
            gpus.setdefault((run.facts["process"]["host"], device), []).append(rows_of(samples, device))
    hosts = {host for host, _ in gpus}
    for (host, device), tables in sorted(gpus.items()):
        yield f"GPU {device}{f' of {host}' if len(hosts) > 1 else ''}", tables


ACTIVITY_WORDS = {
    "sm_activity_percent": "SMs busy {}",
    "tensor_activity_percent": "tensor cores {} of the time",
    "dram_bandwidth_percent": "memory {} of its bandwidth",
}


def activity_words(runs: Sequence[Run]) -> Iterator[str]:
    """Yield a sentence for each GPU that counts what its units do, to hold beside what follows from the model."""
    for name, tables in gpu_samples(runs):
        if means := activity(tables):
            parts = (ACTIVITY_WORDS[column].format(percent(mean / 100)) for column, mean in means.items())
            yield f"{name} by its own counters (NVML's GPM), gaps between steps included: {', '.join(parts)}."


def phrases(gpu: GpuHealth) -> Iterator[str]:
    if gpu.any_reduced is None:
        yield "no record of whether its clocks were reduced"
    elif gpu.any_reduced:
        reasons = ", ".join(f"{name} {percent(share)}" for name, share in gpu.reduced.items())
        yield f"clocks reduced in {percent(gpu.any_reduced)} of {gpu.judged:,} samples ({reasons})"
    else:
        yield f"clocks never reduced in {gpu.judged:,} samples"
    if gpu.sm_clock_mhz:
        yield f"SM clock {between(gpu.sm_clock_mhz, 'MHz')}"
    if gpu.temperature_c:
        yield f"at most {gpu.temperature_c.most:.0f} °C"
    if gpu.power_w:
        yield f"{gpu.power_w.mean:,.0f} W on average, {gpu.power_w.most:,.0f} W at most"
    if gpu.states:
        first, last = gpu.states[0], gpu.states[-1]
        yield f"P-state {first}" if first == last else f"P-states {first} to {last}"
    yield from errors(gpu)


def errors(gpu: GpuHealth) -> Iterator[str]:
    counts = {"uncorrected": gpu.ecc_errors, "corrected": gpu.ecc_corrected_errors}
    if any(count is not None for count in counts.values()):
        found = ", ".join(f"{count:,} {kind}" for kind, count in counts.items() if count)
        yield f"new ECC errors: {found or 'none'}"


def between(extent: Extent, unit: str) -> str:
    least, most = f"{extent.least:,.0f}", f"{extent.most:,.0f}"
    return f"{most} {unit}" if least == most else f"{least} to {most} {unit}"


def reduced_strip(table: pa.Table, origin: int, name: str) -> Iterator[Spans]:
    """Yield a chart with a row for each GPU; none if no clock was reduced."""
    gpus = devices(table)
    spans = [(row, *span) for row, device in enumerate(gpus) for span in reduced_spans(rows_of(table, device))]
    kinds = [bit for bit in REASONS if any(bit == used for _, used, _, _ in spans)]
    if spans:
        yield Spans(
            title="GPU clock throttling, by reason",
            note="Reported by NVML during the steps; of several reasons at a time, the most severe.",
            kinds=[REASONS[bit] for bit in kinds],
            rows=[f"GPU {device}" for device in gpus],
            spans=[
                (row, kinds.index(bit), round((begin - origin) / 1e9, 6), round((end - origin) / 1e9, 6))
                for row, bit, begin, end in spans
            ],
            sync=name,
            named=True,
        )
