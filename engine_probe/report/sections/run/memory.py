"""The memory of each device by use, as a bar and in sentences; the KV pool with its peak use."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from engine_probe.analysis.run.summary import Summary
from engine_probe.report.document import Bar, Bars, Part, Section, Table, says, table
from engine_probe.text_format import byte_size, percent

HOST = "cpu"
# part -> (name, colour of a renderer's palette)
PARTS = {
    "weights_bytes": ("weights", "c0"),
    "kv_in_use": ("KV pool, peak use", "c2"),
    "kv_rest": ("KV pool, never used", "c2 pale"),
    "graphs_bytes": ("CUDA graphs", "c4"),
    "activations_bytes": ("activations, peak", "c1"),
    "other_bytes": ("other", "c5"),
    "unattributed": ("not attributed", "c7 pale"),
    "free_bytes": ("free", "none"),
}
MEASURED = ("weights_bytes", "kv_pool_bytes", "graphs_bytes", "activations_bytes", "other_bytes")
TOLERANCE = 0.02  # of the device, between the sum of the parts and the figure of NVML


@dataclass(frozen=True)
class DeviceMemory:
    """The parts of one device's memory, over all ranks on it; on a host, only the memory that vLLM takes."""

    name: str
    rows: tuple[dict[str, Any], ...]
    parts: dict[str, int]

    @property
    def total(self) -> int:
        return sum(self.parts.values())

    def of(self, column: str) -> int | None:
        """Return the sum of a column over the ranks. None if one of them lacks it."""
        values = [row[column] for row in self.rows]
        return None if None in values else sum(values)


def devices(facts: dict[str, Any], summary: Summary) -> list[DeviceMemory]:
    """Return the devices whose total memory is known."""
    rows = [row for row in facts.get("memory") or () if row["total_bytes"]]
    return [
        device
        for name in dict.fromkeys(row["device"] for row in rows)
        if (device := device_of(tuple(row for row in rows if row["device"] == name), summary.peak_kv_share))
    ]


def device_of(rows: tuple[dict[str, Any], ...], kv_share: float) -> DeviceMemory | None:
    """Return the parts of a device from the rows of its ranks. None if they add up to more than the device has."""
    first = rows[0]
    parts = {name: sum(row[name] or 0 for row in rows) for name in MEASURED}
    pool = parts.pop("kv_pool_bytes")
    parts |= {"kv_in_use": round(pool * kv_share), "kv_rest": pool - round(pool * kv_share)}
    parts |= {"free_bytes": 0, "unattributed": 0}
    if first["device"] != HOST:  # on a host, pages that were never touched still count as free
        parts["free_bytes"] = min(row["free_bytes"] or 0 for row in rows)
        parts["unattributed"] = first["total_bytes"] - sum(parts.values())
    if parts["unattributed"] < 0:
        return None
    ranks = ", ".join(str(row["rank"]) for row in rows)
    return DeviceMemory(
        f"{'Rank' if len(rows) == 1 else 'Ranks'} {ranks}: {first['name']}",
        rows,
        {name: parts[name] for name in PARTS if parts[name]},
    )


def memory_words(facts: dict[str, Any], summary: Summary) -> Iterator[str]:
    for device in devices(facts, summary):
        first = device.rows[0]
        parts = {name: device.of(name) for name in MEASURED}
        sizes = ", ".join(f"{byte_size(parts[name] or 0)} {WORDS[name]}" for name in MEASURED if parts[name])
        reserved, total = first["reserved_bytes"], first["total_bytes"]
        if first["device"] == HOST:
            yield f"{device.name}, of the host's {byte_size(total)}: {sizes}."
        elif reserved:
            yield f"{device.name}: vLLM reserves {reserved / total:.1%} of {byte_size(total)} by design: {sizes}."
        else:
            yield f"{device.name}, {byte_size(total)}: {sizes}."
        most, mean = (percent(share) for share in (summary.peak_kv_share, summary.mean_kv_share))
        yield f"KV pool in use: {most} at peak, {mean} on average."
        if None not in parts.values() and (nvml := first["nvml_used_bytes"]) is not None:
            yield nvml_sentence(device, nvml)
    for reason in facts.get("unread") or ():
        yield f"Not read: {reason}."


WORDS = {
    "weights_bytes": "weights",
    "kv_pool_bytes": "KV pool",
    "graphs_bytes": "CUDA graphs",
    "activations_bytes": "activations at peak",
    "other_bytes": "other",
}


def nvml_sentence(device: DeviceMemory, nvml: int) -> str:
    used = device.total - device.parts.get("free_bytes", 0)
    gap = abs(used - nvml) / device.total
    verdict = "they agree" if gap < TOLERANCE else f"they differ by {gap:.1%} of the device"
    return f"The parts add up to {byte_size(used)}; NVML reported {byte_size(nvml)} in use before the run: {verdict}."


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
    """Return sentences, a bar for each device, and a table of the figures with their sources."""
    found = devices(facts, summary)
    bars = (memory_bars(found),) if found else ()
    details = (Section("Sources", tables=(sources(found),), shown="page"),) if found else ()
    return Section("Memory", sentences=says(memory_words(facts, summary)), bars=bars, details=details)


def memory_bars(found: Sequence[DeviceMemory]) -> Bars:
    bars = (
        Bar(
            device.name,
            byte_size(device.total),
            tuple(
                Part(PARTS[part][0], byte_size(size), size / device.total, PARTS[part][1])
                for part, size in device.parts.items()
            ),
        )
        for device in found
    )
    return Bars(
        "Memory breakdown",
        "Before the run, by vLLM's own accounting; the KV pool with its peak use during the run.",
        tuple(bars),
    )


def sources(found: Sequence[DeviceMemory]) -> Table:
    """Return every figure with its source, or the reason why it is missing."""
    rows = (
        (str(row["rank"]), name, "-" if row[column] is None else byte_size(row[column]), source(row, column))
        for device in found
        for row in device.rows
        for column, name in COLUMNS.items()
    )
    return table(("rank", "part", "size", "source, or why it is missing"), rows, words=(0, 1, 3))


def source(row: dict[str, Any], column: str) -> str:
    return str(row["sources" if row[column] is not None else "missing"].get(column) or "")
