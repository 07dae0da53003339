"""The figures that tables publish and a measured curve gives, too: each declared once, with how it is measured."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine_probe.analysis.compare.changes import METRICS
from engine_probe.analysis.curve.levels import makespans, speed_up
from engine_probe.analysis.run.gpu_health import GpuHealth, first_gpu
from engine_probe.recordings.curve import Curve
from engine_probe.recordings.run import Run

Measure = Callable[[Curve, Sequence[Run], float | None], float | None]  # of a curve, its runs, and the load


@dataclass(frozen=True)
class Figure:
    """Describes a figure that can be compared: its name, format, chart, and how a curve gives it."""

    words: str
    form: Callable[[float], str]
    chart: str
    measured: Measure
    scale: float = 1.0  # to the chart's unit


def four_digits(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:,.4g}"


def at_load(value: Callable[[Any], float | None]) -> Measure:
    """Return a function for the mean over the repeats of a load, which is None if one of them has no value."""

    def measured(curve: Curve, _: Sequence[Run], at: float | None) -> float | None:
        repeats = [value(figures) for figures in curve.figures if figures.load == at]
        values = [repeat for repeat in repeats if repeat is not None]
        return float(np.mean(values)) if values and len(values) == len(repeats) else None

    return measured


def of_metric(name: str) -> Measure:
    """Return a function for the mean of a metric that `compare` has, too."""
    (metric,) = (metric for metric in METRICS if metric.name == name)
    return at_load(lambda figures: metric.value(figures.summary))


def kv_saturation(curve: Curve, _: Sequence[Run], __: float | None) -> float | None:
    holds = curve.found.kv.holds
    return None if holds is None else float(np.mean(holds))


def peak_output_tokens_per_s(curve: Curve, runs: Sequence[Run], _: float | None) -> float | None:
    """Return the highest rate of all measured loads, each averaged over its repeats."""
    measured = of_metric("output_tokens_per_s")
    rates = [measured(curve, runs, load) for load in {figures.load for figures in curve.figures}]
    return max((rate for rate in rates if rate is not None), default=None)


def highest_throughput_load(curve: Curve, runs: Sequence[Run], _: float | None) -> float | None:
    """Return the load whose runs have the highest throughput within the run. None with fewer than two."""
    measured = of_metric("highest_output_tokens_per_s")
    rates = {figures.load: measured(curve, runs, figures.load) for figures in curve.figures}
    known = {load: rate for load, rate in rates.items() if rate is not None}
    return max(known, key=lambda load: known[load]) if len(known) > 1 else None


def burst_speed_up(curve: Curve, _: Sequence[Run], at: float | None) -> float | None:
    spans = makespans(curve.figures)
    return speed_up(spans, at) if spans and at in spans and 1 in spans else None


def of_gpu(value: Callable[[GpuHealth], float | None]) -> Measure:
    """Return a function for a figure of the first GPU's telemetry over all runs of a curve. None without a GPU."""

    def measured(_: Curve, runs: Sequence[Run], __: float | None) -> float | None:
        gpu = first_gpu([run.telemetry for run in runs])
        return value(gpu) if gpu else None

    return measured


def memory_of_first_gpu(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return the rows of run.json about the memory of the first GPU: one for each rank on it."""
    rows = [row for row in runs[0].facts.get("memory") or () if row["total_bytes"] and row["device"] != "cpu"]
    return [row for row in rows if row["device"] == rows[0]["device"]]


def of_memory(column: str, of_total: bool = False) -> Measure:
    """Return a function for a part of the first GPU's memory, over all ranks on it: in GiB, or a share of all."""

    def measured(_: Curve, runs: Sequence[Run], __: float | None) -> float | None:
        values = [(row[column], row["total_bytes"]) for row in memory_of_first_gpu(runs)]
        held = [part for part, _ in values]
        if not held or None in held:
            return None
        total: float = sum(held)
        return total / (values[0][1] if of_total else 2**30)

    return measured


def gpu_memory(_: Curve, runs: Sequence[Run], __: float | None) -> float | None:
    rows = memory_of_first_gpu(runs)
    return rows[0]["total_bytes"] / 2**30 if rows else None


def loading_seconds(_: Curve, runs: Sequence[Run], __: float | None) -> float | None:
    """Return the time that loading and preparing the weights took, by the lines of vLLM's log."""
    phases = next((start["phases"] for run in runs if (start := run.facts.get("start_phases"))), ())
    loading = [phase["seconds"] for phase in phases if phase["name"] in ("loading weights", "preparing the weights")]
    return sum(loading) if loading else None


def failed(figures: Any) -> float | None:
    found = figures.summary.success
    return 1 - found.rate if found else None


THROUGHPUT, OCCUPANCY = "Throughput and its regions", "KV occupancy"
PEAK = "Highest throughput within the run"
FIGURES: dict[str, Figure] = {
    "saturation_point": Figure(
        "saturation point",
        four_digits,
        THROUGHPUT,
        lambda curve, _, __: curve.found.saturation.load if curve.found.saturation else None,
    ),
    "kv_saturation": Figure("KV pool full at", four_digits, OCCUPANCY, kv_saturation),
    "kv_capacity_tokens": Figure(
        "KV capacity, tokens",
        "{:,.0f}".format,
        "",
        lambda _, runs, __: runs[0].facts["kv"]["blocks"] * runs[0].facts["kv"]["block_size_tokens"],
    ),
    "weights_gib": Figure(
        "weights, GiB",
        four_digits,
        "",
        lambda _, runs, __: None if runs[0].weights_bytes is None else runs[0].weights_bytes / 2**30,
    ),
    "output_tokens_per_s": Figure("output tokens/s", four_digits, THROUGHPUT, of_metric("output_tokens_per_s")),
    "peak_output_tokens_per_s": Figure("peak output tokens/s", four_digits, "", peak_output_tokens_per_s),
    "highest_output_tokens_per_s": Figure(
        "highest output tokens/s within the run", four_digits, PEAK, of_metric("highest_output_tokens_per_s")
    ),
    "highest_throughput_load": Figure(
        "highest throughput within the run at", four_digits, PEAK, highest_throughput_load
    ),
    "peak_kv_share": Figure("KV peak", "{:.0%}".format, OCCUPANCY, of_metric("peak_kv_share"), 100),
    "ttft_p50_ms": Figure("TTFT p50, ms", four_digits, "Time to first token", of_metric("ttft_p50_ms")),
    "tpot_p50_ms": Figure("TPOT p50, ms", four_digits, "Time per output token", of_metric("tpot_p50_ms")),
    "ttft_p99_ms": Figure("TTFT p99, ms", four_digits, "", of_metric("ttft_p99_ms")),
    "tpot_p99_ms": Figure("TPOT p99, ms", four_digits, "", of_metric("tpot_p99_ms")),
    "e2el_p50_ms": Figure("E2EL p50, ms", four_digits, "", of_metric("e2el_p50_ms")),
    "e2el_mean_ms": Figure("E2EL mean, ms", four_digits, "", at_load(lambda found: found.summary.e2el.mean_ms)),
    "makespan_s": Figure(
        "makespan of a burst, s",
        four_digits,
        "Makespan of a burst",
        at_load(lambda found: found.summary.makespan_seconds),
    ),
    "speed_up": Figure("speed-up of a burst", "{:,.3g}".format, "", burst_speed_up),
    "requests_per_min": Figure(
        "requests/min", four_digits, "", at_load(lambda found: 60 * found.summary.requests_per_s)
    ),
    "tokens_per_answer": Figure(
        "tokens per answer", four_digits, "", at_load(lambda found: found.summary.tokens_per_answer)
    ),
    "failed_share": Figure("requests not answered", "{:.1%}".format, "", at_load(failed)),
    "loading_s": Figure("loading the weights, s", four_digits, "", loading_seconds),
    "weights_gib_of_gpu": Figure("weights of one GPU, GiB", four_digits, "", of_memory("weights_bytes")),
    "reserved_gib_of_gpu": Figure("reserved on one GPU, GiB", four_digits, "", of_memory("reserved_bytes")),
    "reserved_share": Figure("reserved of a GPU", "{:.1%}".format, "", of_memory("reserved_bytes", of_total=True)),
    "gpu_memory_gib": Figure("memory of a GPU, GiB", four_digits, "", gpu_memory),
    "temperature_max_c": Figure(
        "GPU temperature, highest, °C",
        "{:,.3g}".format,
        "",
        of_gpu(lambda gpu: gpu.temperature_c.most if gpu.temperature_c else None),
    ),
    "power_mean_w": Figure(
        "GPU power, mean, W", four_digits, "", of_gpu(lambda gpu: gpu.power_w.mean if gpu.power_w else None)
    ),
}
