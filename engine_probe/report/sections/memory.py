"""Where each device's memory went, as a bar of parts and in sentences; the KV pool with what of it was ever in use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from rich.text import Text

from engine_probe.analysis.run.summary import Summary
from engine_probe.report.renderers.html_elements import Html, element, grid, joined
from engine_probe.report.summary import percent
from engine_probe.text_format import plain

GIB = 1 << 30
HOST = "cpu"
BAR_CELLS = 64
# part -> (name, colour of the page, colour of a terminal)
PARTS = {
    "weights_bytes": ("weights", "c0", "blue"),
    "kv_in_use": ("KV pool, in use at most", "c2", "green"),
    "kv_rest": ("KV pool, never in use", "c2 pale", "bright_black"),
    "graphs_bytes": ("graphs", "c4", "magenta"),
    "activations_bytes": ("activations, at their peak", "c1", "yellow"),
    "other_bytes": ("other", "c5", "white"),
    "untold": ("not told apart", "c7 pale", "red"),
    "free_bytes": ("free", "none", "black"),
}
WEIGHED = ("weights_bytes", "kv_pool_bytes", "graphs_bytes", "activations_bytes", "other_bytes")
LABELLED = 0.13  # of the bar: room for a figure
DIFFERENT = 0.02  # of the device, between what the parts come to and what NVML says


@dataclass(frozen=True)
class Device:
    """The parts of one device's memory, of all ranks on it; of a host no more than what vLLM takes."""

    name: str
    rows: tuple[dict[str, Any], ...]
    parts: dict[str, int]

    @property
    def total(self) -> int:
        return sum(self.parts.values())

    def of(self, column: str) -> int | None:
        """Summed over the ranks; None where one of them does not tell."""
        values = [row[column] for row in self.rows]
        return None if None in values else sum(values)


def devices(facts: dict[str, Any], summary: Summary) -> list[Device]:
    """Those whose total is known."""
    rows = [row for row in facts.get("memory") or () if row["total_bytes"]]
    return [
        made
        for device in dict.fromkeys(row["device"] for row in rows)
        if (made := whole(tuple(row for row in rows if row["device"] == device), summary.peak_kv_share))
    ]


def whole(rows: tuple[dict[str, Any], ...], kv_share: float) -> Device | None:
    """None where the parts exceed the device: something about them is wrong."""
    first = rows[0]
    known = {name: sum(row[name] or 0 for row in rows) for name in WEIGHED}
    pool = known.pop("kv_pool_bytes")
    known |= {"kv_in_use": round(pool * kv_share), "kv_rest": pool - round(pool * kv_share)}
    known |= {"free_bytes": 0, "untold": 0}
    if first["device"] != HOST:  # there, pages that nobody has touched yet still count as free
        known["free_bytes"] = min(row["free_bytes"] or 0 for row in rows)
        known["untold"] = first["total_bytes"] - sum(known.values())
    if known["untold"] < 0:
        return None
    ranks = ", ".join(str(row["rank"]) for row in rows)
    return Device(
        f"{'Rank' if len(rows) == 1 else 'Ranks'} {ranks}: {first['name']}",
        rows,
        {name: known[name] for name in PARTS if known[name]},
    )


def gib(size: float) -> str:
    """Three figures, in the unit that shows them."""
    for unit, scale in (("GiB", GIB), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= scale:
            return f"{size / scale:.3g} {unit}" if size < 1000 * scale else f"{size / scale:,.0f} {unit}"
    return f"{size:.0f} bytes"


def memory_words(facts: dict[str, Any], summary: Summary) -> Iterator[str]:
    for device in devices(facts, summary):
        first = device.rows[0]
        parts = {name: device.of(name) for name in WEIGHED}
        told = ", ".join(f"{gib(parts[name] or 0)} {WORDS[name]}" for name in WEIGHED if parts[name])
        reserved, total = first["reserved_bytes"], first["total_bytes"]
        if first["device"] == HOST:
            yield f"{device.name}, of the host's {gib(total)}: {told}."
        elif reserved:
            yield f"{device.name}: vLLM reserves {reserved / total:.1%} of {gib(total)} by design: {told}."
        else:
            yield f"{device.name}, {gib(total)}: {told}."
        most, mean = (percent(share) for share in (summary.peak_kv_share, summary.mean_kv_share))
        yield f"KV pool in use: {most} at peak, {mean} on average."
        if None not in parts.values() and (nvml := first["nvml_used_bytes"]) is not None:
            yield against_nvml(device, nvml)
    for reason in facts.get("unread") or ():
        yield f"Not read: {reason}."


WORDS = {
    "weights_bytes": "weights",
    "kv_pool_bytes": "KV pool",
    "graphs_bytes": "graphs",
    "activations_bytes": "activations at their peak",
    "other_bytes": "other",
}


def against_nvml(device: Device, nvml: int) -> str:
    used = device.total - device.parts.get("free_bytes", 0)
    off = abs(used - nvml) / device.total
    verdict = "they agree" if off < DIFFERENT else f"{off:.1%} of the device apart"
    return f"The parts come to {gib(used)}; NVML said {gib(nvml)} in use before the run: {verdict}."


def memory_bar(device: Device) -> Iterator[Text]:
    """For a terminal: the bar, and what its colours are."""
    edges, so_far = [0], 0
    for size in device.parts.values():
        so_far += size
        edges.append(round(so_far / device.total * BAR_CELLS))
    cells = [end - begin for begin, end in pairwise(edges)]
    bar, key = Text(), Text()
    for (name, size), width in zip(device.parts.items(), cells, strict=True):
        label, _, colour = PARTS[name]
        bar.append(("░" if name == "free_bytes" else "█") * width, colour if name != "free_bytes" else "dim")
        key.append("░ " if name == "free_bytes" else "█ ", colour if name != "free_bytes" else "dim")
        key.append(f"{label} {gib(size)}   ")
    yield bar
    yield key


def memory_figure(facts: dict[str, Any], summary: Summary) -> Iterator[Html]:
    """Bars for all devices, one under the other, and the figures with their sources."""
    found = devices(facts, summary)
    if not found:
        return
    note = "Before the run, as vLLM accounts for it; of the KV pool what was ever in use."
    yield element(
        "figure",
        element("h3", "Memory breakdown"),
        element("figcaption", note),
        *(part for device in found for part in bar(device)),
        key(found),
        sources([row for device in found for row in device.rows]),
    )


def bar(device: Device) -> Iterator[Html]:
    yield element("div", f"{device.name}, {gib(device.total)}", class_="soft")
    told = ", ".join(f"{PARTS[name][0]} {gib(size)}" for name, size in device.parts.items())
    pieces = (
        element(
            "span",
            gib(size) if size >= LABELLED * device.total else "",
            title=f"{PARTS[name][0]}: {gib(size)}, {size / device.total:.1%}",
            style=f"flex: {size / device.total:.6f} 0 0; {paint(name)}",
        )
        for name, size in device.parts.items()
    )
    yield element("div", *pieces, class_="bar", role="img", aria_label=told)


def paint(name: str) -> str:
    colour, _, pale = PARTS[name][1].partition(" ")
    if colour == "none":
        return "background: var(--card)"
    if pale:
        return f"background: color-mix(in srgb, var(--{colour}) 30%, var(--card))"
    return f"background: var(--{colour}); color: var(--card)"


def key(found: Sequence[Device]) -> Html:
    used = [name for name in PARTS if any(name in device.parts for device in found)]
    items = (element("span", element("i", style=paint(name)), PARTS[name][0]) for name in used)
    return element("div", *items, class_="key")


def sources(rows: Sequence[dict[str, Any]]) -> Html:
    """Every figure, and where it comes from or why it is not there."""
    lines = []
    for row in rows:
        for column, name in COLUMNS.items():
            value = row[column]
            why = row["sources"].get(column) if value is not None else row["missing"].get(column)
            lines.append([str(row["rank"]), name, "-" if value is None else gib(value), why or ""])
    table = grid(["rank", "what", "bytes", "from what, or why not"], lines, text=(1, 3))
    return element("details", element("summary", "Sources"), joined([table]))


COLUMNS = {
    "total_bytes": "total",
    "reserved_bytes": "reserved",
    **WORDS,
    "free_bytes": "free",
    "used_bytes": "in use, by CUDA",
    "nvml_used_bytes": "in use, by NVML",
    "rss_bytes": "process, on the host",
}


def memory_lines(facts: dict[str, Any], summary: Summary) -> Iterator[Text]:
    """The part of a terminal's summary."""
    for device in devices(facts, summary):
        yield from memory_bar(device)
    for said in memory_words(facts, summary):
        yield Text(plain(said))
