"""The charts of a report: bandwidth by size, products by shape, decoding, links between GPUs, the sustained run."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain

from kernels_bench.devices.specifications import specification_of
from kernels_bench.output.quantities import quantity
from kernels_bench.results import Figure, Reading, Report, Trial
from page_kit.html import Html, element, figure
from page_kit.line_chart import Series, chart
from page_kit.scale import Scale

MIB = 1 << 20


def charts(report: Report) -> Iterator[Html]:
    yield from by_size(report)
    yield from by_shape(report)
    yield from decoding(report)
    yield from between(report)
    yield from sustained_run(report)


def figures_of(report: Report, target: str, test: str) -> list[Figure]:
    return [result.figure for result in report.of(target) if result.test == test and result.figure is not None]


def named(report: Report, test: str, name: str) -> Iterator[tuple[str, str, Figure]]:
    """Yield target, model and figure of each device that has the figure."""
    for part in report.devices:
        for measured in figures_of(report, part.device.target, test):
            if measured.name == name:
                yield part.device.target, part.device.name, measured


def documented(model: str, test: str, name: str, xs: Sequence[float], scale: float) -> list[Series]:
    """Return the maker's figure as a dashed line across the chart."""
    row = specification_of(model)
    ceiling = row.ceiling(test, name) if row else None
    if not row or not ceiling or not xs:
        return []
    ends = tuple((x, ceiling / scale, "") for x in (min(xs), max(xs)))
    source = row.source if row.source.startswith(model) else f"{model}: {row.source}"
    return [Series(source, ends, style="dashed")]


def by_size(report: Report) -> Iterator[Html]:
    series, ceilings = [], {}
    for target, model, copied in named(report, "memory", "copy"):
        whole = Trial({"bytes": int(copied.detail.get("buffer_bytes", 0))}, copied.value)
        points = tuple(
            (float(trial.at["bytes"]), trial.value / 1e9, f"{size(trial.at['bytes'])}: {quantity(trial.value, 'B/s')}")
            for trial in (*copied.trials, whole)
            if trial.at["bytes"]
        )
        series.append(Series(target, points))
        ceilings[model] = documented(model, "memory", "copy", [point[0] for point in points], 1e9)
    note = "Bytes read and written per second. Each copy starts with cold caches and is launched alone."
    scales = Scale("bytes copied", True, size), Scale("GB/s")
    yield from lines("Memory bandwidth by size", note, series, ceilings, *scales)


def by_shape(report: Report) -> Iterator[Html]:
    series, ceilings = [], {}
    for target, model, best in named(report, "gemm", "bf16 best shape"):
        points = tuple(
            (work(trial) / 1e9, trial.value / 1e12, f"{shape(trial)}: {quantity(trial.value, 'FLOP/s')}")
            for trial in best.trials
        )
        series.append(Series(target, points, style="dots"))
        ceilings[model] = documented(model, "gemm", "bf16", [point[0] for point in points], 1e12)
    note = "One dot per shape of the search, measured briefly; the best three were measured in full."
    scales = Scale("GFLOP in one product", True, thousands), Scale("TFLOP/s")
    yield from lines("BF16 products by shape", note, series, ceilings, *scales)


def decoding(report: Report) -> Iterator[Html]:
    series, ceilings = [], {}
    for part in report.devices:
        points = tuple(
            (float(product.detail["m"]), product.value / 1e9, f"{product.name}: {quantity(product.value, 'B/s')}")
            for product in figures_of(report, part.device.target, "gemm")
            if product.name.startswith("bf16 decode")
        )
        if points:
            series.append(Series(part.device.target, points))
            name, xs = part.device.name, [point[0] for point in points]
            ceilings[name] = documented(name, "memory", "copy", xs, 1e9)
    scales = Scale("requests in the batch (M)", True), Scale("GB/s moved")
    note = "The line is level while memory is the limit."
    yield from lines("Decoding: a weight against a few rows", note, series, ceilings, *scales)


def between(report: Report) -> Iterator[Html]:
    targets = [part.device.target for part in report.devices]
    for name, title in (
        ("one way", "GPU to GPU, one way"),
        ("both ways", "GPU to GPU, both ways"),
        ("latency", "GPU to GPU, latency"),
    ):
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
            note = f"Paths: {', '.join(paths)}." if paths else ""
            yield figure(title, note, heat_table(targets, cells, name != "latency"))


def sustained_run(report: Report) -> Iterator[Html]:
    """Draw rate, power, temperature and clock over time, each in its own chart."""
    rates = []
    for part in report.devices:
        for sustained in figures_of(report, part.device.target, "sustained"):
            rates.append(Series(part.device.target, tuple(over_time(sustained))))
    yield from over_seconds("rate", "TFLOP/s", "The median of each round.", rates)
    for title, unit, column, scale in (
        ("power", "W", "power_mw", 1e3),
        ("temperature", "°C", "temperature_c", 1.0),
        ("clock", "MHz", "sm_mhz", 1.0),
    ):
        series = [
            Series(part.device.target, tuple(sampled(part.curve, column, scale, unit)))
            for part in report.devices
            if part.curve
        ]
        yield from over_seconds(title, unit, "Sampled ten times per second.", series)


def over_seconds(what: str, unit: str, note: str, series: Sequence[Series]) -> Iterator[Html]:
    yield from lines(f"The sustained run: {what}", note, series, {}, Scale("time (s)"), Scale(unit))


def lines(
    title: str, note: str, series: Sequence[Series], ceilings: Mapping[str, Sequence[Series]], x: Scale, y: Scale
) -> Iterator[Html]:
    """Draw the devices and then the ceilings, each in its own colour; nothing if no device has a line."""
    if any(len(line.points) > 1 for line in series):
        drawn = [replace(line, colour=number) for number, line in enumerate((*series, *chain(*ceilings.values())))]
        yield figure(title, note, chart(title, drawn, x, y))


def over_time(sustained: Figure) -> Iterator[tuple[float, float, str]]:
    seconds = 0.0
    for times in sustained.samples.rounds_ns:
        seconds += sum(times) / 1e9
        median = sorted(times)[len(times) // 2]
        if median == 0:
            continue
        rate = sustained.work / median * 1e9
        yield seconds, rate / 1e12, quantity(rate, sustained.unit)


def sampled(readings: Sequence[Reading], column: str, scale: float, unit: str) -> Iterator[tuple[float, float, str]]:
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


def heat_table(names: Sequence[str], cells: dict[tuple[str, str], tuple[float, str, str]], best_is_high: bool) -> Html:
    """Make a table from each name to each; better values have a stronger colour.

    `cells` holds a value, its text and its tooltip.
    """
    values = [value for value, _, _ in cells.values()]
    low, high = min(values), max(values)
    rows = []
    for source in names:
        row: list[str] = [element("th", source, scope="row")]
        for target in names:
            if (source, target) not in cells:
                row.append(element("td", "–" if source == target else ""))
                continue
            value, text, tooltip = cells[source, target]
            share = (value - low) / (high - low) if high > low else 1.0
            strength = 12 + 58 * (share if best_is_high else 1 - share)
            background = f"background: color-mix(in srgb, var(--c2) {strength:.0f}%, var(--card))"
            row.append(element("td", text, title=tooltip, style=background))
        rows.append(element("tr", *row))
    head = element("tr", element("th", "from \\ to"), *(element("th", name) for name in names))
    return element(
        "div", element("table", element("thead", head), element("tbody", *rows), class_="heat"), class_="wide"
    )


def spread_box(quantiles: Sequence[float], title: str) -> Html:
    """Draw a box with whiskers of four quantiles, given as shares of the median; the picture's edges are ± 0.05."""
    width, height, edge = 110.0, 18.0, 0.05

    def at(share: float) -> float:
        return width / 2 * (1 + max(-1.0, min(1.0, share / edge)))

    least, low, high, most = (at(value) for value in quantiles)
    parts = (
        element("title", title),
        element("line", x1=width / 2, y1=2, x2=width / 2, y2=height - 2, class_="grid"),
        element("line", x1=least, y1=height / 2, x2=most, y2=height / 2, class_="whisker"),
        element("rect", x=low, y=4, width=max(2.0, high - low), height=height - 8, rx=2, class_="box"),
    )
    return element("svg", *parts, viewBox=f"0 0 {width:g} {height:g}", class_="spread", role="img", aria_label=title)
