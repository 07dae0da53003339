"""What earlier sweeps measured on the same kind of hardware, from which a dry run predicts times."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from engine_probe.errors import EngineProbeError, InputError
from engine_probe.files.config_file import RESULT_FILE, SUITE_FILE
from engine_probe.files.safe_read import read_json
from engine_probe.record.reader import read_facts
from engine_probe.record.run_folder import COMPLETE, RUN_FILE
from engine_probe.sweep.definition.sweep_file import Point

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class Past(msgspec.Struct, frozen=True):
    """A point of an earlier sweep."""

    key: str  # computed today, so that it equals the key of the same point in a new sweep
    point: Point
    seconds: float
    output_tokens: int
    kv_tokens: int  # size of the pool
    begun_seconds: float | None  # from the start of the engine's process to the recording
    recording: Path | None = None  # its folder

    @property
    def output_tokens_per_s(self) -> float:
        return self.output_tokens / self.seconds


def earlier(folder: Path, hardware: dict[str, Any]) -> list[Past]:
    """Return the complete points of the sweeps and suites in `folder` or directly below, on this kind of hardware."""
    files = [folder / RESULT_FILE, *sorted(folder.glob(f"*/{RESULT_FILE}"))]
    suites = [file.parent for file in (folder / SUITE_FILE, *sorted(folder.glob(f"*/{SUITE_FILE}"))) if file.is_file()]
    files += [file for suite in suites for file in sorted(suite.glob(f"*/*/{RESULT_FILE}"))]
    return [past for file in files if file.is_file() for past in points_of(file, hardware)]


def points_of(file: Path, hardware: dict[str, Any]) -> Iterator[Past]:
    """Yield the usable points of a sweep; skip what cannot be read, since they only serve a prediction."""
    try:
        document = read_json(file)
    except InputError:
        return
    rows = document.get("points") if isinstance(document, dict) else None
    for row in rows if isinstance(rows, list) else ():
        try:
            place = file.parent / "points" / Path(row.get("folder") or row["id"]).name
            if row["status"] == COMPLETE and (place / RUN_FILE).is_file():
                facts = read_facts(place)
                if same_hardware(facts.get("hardware", {}), hardware):
                    yield past_of(row, facts, place)
        except (KeyError, TypeError, ValueError, AttributeError, msgspec.ValidationError, EngineProbeError):
            continue


def past_of(row: dict[str, Any], facts: dict[str, Any], place: Path) -> Past:
    point = msgspec.convert(row["point"], Point)
    process, kv = facts["process"], facts["kv"]
    begun = None
    if process["started"] is not None:
        begun = facts["clock"]["monotonic_ns"] / 1e9 - process["started"] / TICKS_PER_SECOND
    return Past(
        point.key,
        point,
        float(row["seconds"]),
        int(row["output_tokens"]),
        kv["blocks"] * kv["block_size_tokens"],
        begun if begun is not None and begun > 0 else None,
        place,
    )


def same_hardware(one: dict[str, Any], other: dict[str, Any]) -> bool:
    def kind(hardware: dict[str, Any]) -> Any:
        host = hardware.get("host", {})
        return host.get("name"), host.get("cores"), [gpu.get("name") for gpu in hardware.get("gpus", [])]

    return bool(one) and kind(one) == kind(other)
