"""The charts of a report: bandwidth by size, products by shape, decoding, links between GPUs, the sustained run."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from kernels_bench.devices.specifications import specification_of
from kernels_bench.output.quantities import quantity
from kernels_bench.results import Figure, Reading, Report, Trial
from page_kit.html import Html, element, figure
from page_kit.line_chart import Point, Series, chart
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


def by_size(report: Report) -> Iterator[Html]:
    def points(copied: Figure) -> Iterator[Point]:
        whole = Trial({"bytes": int(copied.detail.get("buffer_bytes", 0))}, copied.value)
        for trial in (*copied.trials, whole):
            if size := trial.at["bytes"]:
                yield float(size), trial.value / 1e9, f"{size_words(size)}: {quantity(trial.value, 'B/s')}"

    note = "Bytes read and written per second. Each copy starts with cold caches and is launched alone."
    scales = Scale("bytes copied", True, size_words), Scale("GB/s")
    drawn = device_lines(report, "memory", "copy", points)
    yield from lines("Memory bandwidth by size", note, drawn, ceilings(report, drawn, "memory", "copy", 1e9), *scales)


def by_shape(report: Report) -> Iterator[Html]:
    def points(best: Figure) -> Iterator[Point]:
        for trial in best.trials:
            m, n, k = (trial.at[side] for side in "mnk")
            yield 2.0 * m * n * k / 1e9, trial.value / 1e12, f"{m}×{n}×{k}: {quantity(trial.value, 'FLOP/s')}"

    note = "One dot per shape of the search, measured briefly; the best three were measured in full."
    scales = Scale("GFLOP in one product", True, thousands), Scale("TFLOP/s")
    drawn = device_lines(report, "gemm", "bf16 best shape", points, "dots")
    yield from lines("BF16 products by shape", note, drawn, ceilings(report, drawn, "gemm", "bf16", 1e12), *scales)


def decoding(report: Report) -> Iterator[Html]:
    def points(product: Figure) -> Iterator[Point]:
        words = f"{product.name}: {quantity(product.value, 'B/s')}"
        yield float(product.detail["m"]), product.value / 1e9, words

    scales = Scale("requests in the batch (M)", True), Scale("GB/s moved")
    note = "The line is level while memory is the limit."
    title, drawn = "Decoding: a weight against a few rows", device_lines(report, "gemm", "bf16 decode", points)
    yield from lines(title, note, drawn, ceilings(report, drawn, "memory", "copy", 1e9), *scales)


def device_lines(
    report: Report, test: str, name: str, points: Callable[[Figure], Iterable[Point]], style: str = "both"
) -> list[Series]:
    """Return a line for each device, through the points of its figures whose names begin like this."""
    found = []
    for part in report.devices:
        figures = [each for each in figures_of(report, part.device.target, test) if each.name.startswith(name)]
        if own := tuple(point for each in figures for point in points(each)):
            found.append(Series(part.device.target, own, style=style))
    return found


def ceilings(report: Report, drawn: Sequence[Series], test: str, name: str, scale: float) -> Iterator[Series]:
    """Yield the maker's figure of each model as a dashed line, as long as the line of a device of that model."""
    for model, line in {report.models[line.label]: line for line in drawn}.items():
        row = specification_of(model)
        if row and (ceiling := row.ceiling(test, name)):
            xs = [point[0] for point in line.points]
            source = row.source if row.source.startswith(model) else f"{model}: {row.source}"
            yield Series(source, [(x, ceiling / scale, "") for x in (min(xs), max(xs))], style="dashed")


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
    yield from lines(f"The sustained run: {what}", note, series, (), Scale("time (s)"), Scale(unit))


def lines(
    title: str, note: str, series: Sequence[Series], ceilings: Iterable[Series], x: Scale, y: Scale
) -> Iterator[Html]:
    """Draw the devices and then the ceilings, each in its own colour; nothing if no device has a line."""
    if any(len(line.points) > 1 for line in series):
        drawn = [replace(line, colour=number) for number, line in enumerate((*series, *ceilings))]
        yield figure(title, note, chart(title, drawn, x, y))


def over_time(sustained: Figure) -> Iterator[Point]:
    seconds = 0.0
    for times in sustained.samples.rounds_ns:
        seconds += sum(times) / 1e9
        median = sorted(times)[len(times) // 2]
        if median == 0:
            continue
        rate = sustained.work / median * 1e9
        yield seconds, rate / 1e12, quantity(rate, sustained.unit)


def sampled(readings: Sequence[Reading], column: str, scale: float, unit: str) -> Iterator[Point]:
    for reading in readings:
        value = getattr(reading, column)
        if value is not None:
            seconds = (reading.at_ns - readings[0].at_ns) / 1e9
            yield seconds, value / scale, f"{seconds:.1f} s: {value / scale:g} {unit}"


def size_words(bytes_: float) -> str:
    return f"{bytes_ / MIB / 1024:g} GiB" if bytes_ >= 1024 * MIB else f"{bytes_ / MIB:g} MiB"


def thousands(value: float) -> str:
    return f"{value:,.3g}" if value < 1e3 else f"{value:,.0f}"


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
