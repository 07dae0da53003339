"""Points without the probe, timed by the driver's clock; their pairs with the probe show its cost."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from engine_probe.analysis.compare.probe_cost import Timed, pair_of, probe_cost, probe_cost_line
from engine_probe.files.safe_read import read_json_as
from engine_probe.record.run_folder import DRIVEN_FILE
from engine_probe.recordings.run import Run
from engine_probe.text_format import counted


class Clock(msgspec.Struct, frozen=True):
    started_ns: int
    ended_ns: int

    def __post_init__(self) -> None:
        if self.ended_ns <= self.started_ns:
            raise ValueError("it ends before it began")

    @property
    def seconds(self) -> float:
        return (self.ended_ns - self.started_ns) / 1e9


def ran_unprobed(place: Path, asked: Mapping[str, Any]) -> bool:
    return asked.get("probe") is False and (place / DRIVEN_FILE).is_file()


def read_unprobed(place: Path, asked: Mapping[str, Any]) -> Timed:
    """Read how long a point without the probe took."""
    return Timed(pair_of(asked), probed=False, seconds=read_json_as(place / DRIVEN_FILE, Clock).seconds)


def probed(run: Run, asked: Mapping[str, Any]) -> Timed | None:
    """Return how long a recorded point took by the driver's clock. None if the driver did not run it."""
    try:
        return Timed(pair_of(asked), probed=True, seconds=msgspec.convert(run.facts.get("outcome"), Clock).seconds)
    except msgspec.ValidationError:
        return None


def unprobed_lines(points: Sequence[Timed]) -> Iterator[str]:
    """Yield the probe's cost by pairs, and how many points without the probe have no partner."""
    if found := probe_cost(points):
        yield probe_cost_line(found)
    partners = {point.pair for point in points if point.probed}
    if alone := sum(not point.probed and point.pair not in partners for point in points):
        line = f"{counted(alone, 'point')} ran without the probe and had no partner with it"
        yield f"{line}: only the driver's clock is known."
