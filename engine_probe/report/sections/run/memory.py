"""Where each device's memory went, as a bar of parts and in sentences; the KV pool with what of it was ever in use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from engine_probe.analysis.run.summary import Summary
from engine_probe.report.document import Bar, Bars, Part, Section, Table, says, table
from engine_probe.text_format import percent

GIB = 1 << 30
HOST = "cpu"
# part -> (name, colour of a renderer's palette)
PARTS = {
    "weights_bytes": ("weights", "c0"),
    "kv_in_use": ("KV pool, in use at most", "c2"),
    "kv_rest": ("KV pool, never in use", "c2 pale"),
    "graphs_bytes": ("graphs", "c4"),
    "activations_bytes": ("activations, at their peak", "c1"),
    "other_bytes": ("other", "c5"),
    "untold": ("not told apart", "c7 pale"),
    "free_bytes": ("free", "none"),
}
WEIGHED = ("weights_bytes", "kv_pool_bytes", "graphs_bytes", "activations_bytes", "other_bytes")
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


COLUMNS = {
    "total_bytes": "total",
    "reserved_bytes": "reserved",
    **WORDS,
    "free_bytes": "free",
    "used_bytes": "in use, by CUDA",
    "nvml_used_bytes": "in use, by NVML",
    "rss_bytes": "process, on the host",
}


def memory_section(facts: dict[str, Any], summary: Summary) -> Section:
    """Return the bars of all devices, and the figures with their sources."""
    found = devices(facts, summary)
    bars = (memory_bars(found),) if found else ()
    details = (Section("Sources", tables=(sources(found),), shown="page"),) if found else ()
    return Section("Memory", sentences=says(memory_words(facts, summary)), bars=bars, details=details)


def memory_bars(found: Sequence[Device]) -> Bars:
    bars = (
        Bar(
            device.name,
            gib(device.total),
            tuple(
                Part(PARTS[part][0], gib(size), size / device.total, PARTS[part][1])
                for part, size in device.parts.items()
            ),
        )
        for device in found
    )
    return Bars(
        "Memory breakdown", "Before the run, as vLLM accounts for it; of the KV pool what was ever in use.", tuple(bars)
    )


def sources(found: Sequence[Device]) -> Table:
    """Return every figure, and where it comes from or why it is not there."""
    rows = (
        (str(row["rank"]), name, "-" if row[column] is None else gib(row[column]), why(row, column))
        for device in found
        for row in device.rows
        for column, name in COLUMNS.items()
    )
    return table(("rank", "what", "bytes", "from what, or why not"), rows, words=(0, 1, 3))


def why(row: dict[str, Any], column: str) -> str:
    told: str = row["sources" if row[column] is not None else "missing"].get(column) or ""
    return told
