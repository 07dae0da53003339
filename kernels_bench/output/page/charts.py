"""What is drawn of a report: bandwidth by size, products by shape, decoding, the ways between cards, the long run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain

from kernels_bench.devices.specifications import specification_of
from kernels_bench.output.page.pictures import heat
from kernels_bench.output.words import quantity
from kernels_bench.results import Figure, Reading, Report, Trial
from page_kit.html import Html, figure
from page_kit.line_chart import Series, chart
from page_kit.scale import Scale

MIB = 1 << 20


def charts(report: Report) -> Iterator[Html]:
    yield from by_size(report)
    yield from by_shape(report)
    yield from decoding(report)
    yield from between(report)
    yield from long_run(report)


def figures_of(report: Report, target: str, test: str) -> list[Figure]:
    return [
        result.figure
        for result in report.results
        if result.device == target and result.test == test and result.figure is not None
    ]


def named(report: Report, test: str, name: str) -> Iterator[tuple[str, str, Figure]]:
    """Of each device that has it: its target, its model, the figure."""
    for part in report.devices:
        for found in figures_of(report, part.device.target, test):
            if found.name == name:
                yield part.device.target, part.device.name, found


def documented(model: str, test: str, name: str, xs: Sequence[float], scale: float) -> list[Series]:
    """The maker's figure as a dashed line across."""
    row = specification_of(model)
    ceiling = row.ceiling(test, name) if row else None
    if not row or not ceiling or not xs:
        return []
    ends = tuple((x, ceiling / scale, "") for x in (min(xs), max(xs)))
    return [Series(f"{model}: {row.source}", ends, style="dashed")]


def by_size(report: Report) -> Iterator[Html]:
    series, ceilings = [], {}
    for target, model, found in named(report, "memory", "copy"):
        whole = Trial({"bytes": int(found.detail.get("buffer_bytes", 0))}, found.value)
        points = tuple(
            (float(trial.at["bytes"]), trial.value / 1e9, f"{size(trial.at['bytes'])}: {quantity(trial.value, 'B/s')}")
            for trial in (*found.trials, whole)
            if trial.at["bytes"]
        )
        series.append(Series(target, points))
        ceilings[model] = documented(model, "memory", "copy", [point[0] for point in points], 1e9)
    if any(len(each.points) > 1 for each in series):
        drawn = chart(
            "Memory bandwidth by size", coloured(series, ceilings), Scale("bytes copied", True, size), Scale("GB/s")
        )
        note = "Read and written bytes a second. Each copy begins with cold caches and is launched alone."
        yield figure("Memory bandwidth by size", note, drawn)


def by_shape(report: Report) -> Iterator[Html]:
    series, ceilings = [], {}
    for target, model, found in named(report, "gemm", "bf16 best shape"):
        points = tuple(
            (work(trial) / 1e9, trial.value / 1e12, f"{shape(trial)}: {quantity(trial.value, 'FLOP/s')}")
            for trial in found.trials
        )
        series.append(Series(target, points, style="dots"))
        ceilings[model] = documented(model, "gemm", "bf16", [point[0] for point in points], 1e12)
    if any(len(each.points) > 1 for each in series):
        drawn = chart(
            "BF16 products by shape",
            coloured(series, ceilings),
            Scale("10⁹ operations in one product", True, thousands),
            Scale("TFLOPS"),
        )
        note = "One dot for each shape of the search: a short look, of which the best three were measured in full."
        yield figure("BF16 products by shape", note, drawn)


def decoding(report: Report) -> Iterator[Html]:
    series, ceilings, title = [], {}, "Decoding: a weight against a few rows"
    for part in report.devices:
        points = tuple(
            (float(found.detail["m"]), found.value / 1e9, f"{found.name}: {quantity(found.value, 'B/s')}")
            for found in figures_of(report, part.device.target, "gemm")
            if found.name.startswith("bf16 decode")
        )
        if points:
            series.append(Series(part.device.target, points))
            name, xs = part.device.name, [point[0] for point in points]
            ceilings[name] = documented(name, "memory", "copy", xs, 1e9)
    if any(len(each.points) > 1 for each in series):
        drawn = chart(
            *(title, coloured(series, ceilings)), Scale("requests in the batch (M)", True), Scale("GB/s moved")
        )
        yield figure(title, "While memory is the limit the line is level.", drawn)


def between(report: Report) -> Iterator[Html]:
    cards = [part.device.target for part in report.devices]
    for name, title in (("one way", "Card to card, one way"), ("both ways", "Both ways"), ("latency", "Latency")):
        cells = {}
        for result in report.results:
            if result.figure and (result.test, result.name) == ("p2p", name):
                source, _, target = result.device.partition("→")
                path = report.topology.get(result.device, "")
                shown = quantity(result.figure.value, result.figure.unit)
                cells[source, target] = (
                    result.figure.value,
                    shown,
                    f"{result.device}: {shown}, {path}, {result.verdict}",
                )
        if cells:
            paths = sorted({report.topology[pair] for pair in report.topology})
            yield figure(title, f"Ways: {', '.join(paths)}." if paths else "", heat(cards, cells, name != "latency"))


def long_run(report: Report) -> Iterator[Html]:
    """Power, temperature and clock each on a scale of its own; the rate over the rounds beside them."""
    rates = []
    for part in report.devices:
        for found in figures_of(report, part.device.target, "sustained"):
            rates.append(Series(part.device.target, tuple(over_time(found))))
    yield from over_seconds("rate", "10¹² operations a second", "The median of each round.", rates)
    for title, unit, column, scale in (
        ("power", "W", "power_mw", 1e3),
        ("temperature", "°C", "temperature_c", 1.0),
        ("clock", "MHz", "sm_mhz", 1.0),
    ):
        series = [
            Series(part.device.target, tuple(looked(part.curve, column, scale, unit)))
            for part in report.devices
            if part.curve
        ]
        yield from over_seconds(title, unit, "Looked at ten times a second.", series)


def over_seconds(what: str, unit: str, note: str, series: Sequence[Series]) -> Iterator[Html]:
    if any(len(each.points) > 1 for each in series):
        title = f"The sustained run: {what}"
        yield figure(title, note, chart(title, coloured(series, {}), Scale("time (s)"), Scale(unit)))


def coloured(series: Sequence[Series], ceilings: Mapping[str, Sequence[Series]]) -> list[Series]:
    """Give each line a colour of its own, the ceilings after the devices."""
    return [replace(each, colour=number) for number, each in enumerate((*series, *chain(*ceilings.values())))]


def over_time(found: Figure) -> Iterator[tuple[float, float, str]]:
    seconds = 0.0
    for times in found.samples.rounds_ns:
        seconds += sum(times) / 1e9
        middle = sorted(times)[len(times) // 2]
        if middle == 0:
            continue
        rate = found.work / middle * 1e9
        yield seconds, rate / 1e12, quantity(rate, found.unit)


def looked(readings: Sequence[Reading], column: str, scale: float, unit: str) -> Iterator[tuple[float, float, str]]:
    for reading in readings:
        value = getattr(reading, column)
        if value is not None:
            seconds = (reading.at_ns - readings[0].at_ns) / 1e9
            yield seconds, value / scale, f"{seconds:.1f} s: {value / scale:g} {unit}"


def size(bytes_: float) -> str:
    return f"{bytes_ / MIB / 1024:g} GiB" if bytes_ >= 1024 * MIB else f"{bytes_ / MIB:g} MiB"


def thousands(value: float) -> str:
    return f"{value:,.3g}" if value < 1e3 else f"{value:,.0f}"


def shape(trial: Trial) -> str:
    return "×".join(str(trial.at[side]) for side in "mnk")


def work(trial: Trial) -> float:
    return 2.0 * trial.at["m"] * trial.at["n"] * trial.at["k"]
