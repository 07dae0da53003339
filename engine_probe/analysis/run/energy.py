"""The energy that cards took while steps ran, from recorded telemetry: their own counter, or power over time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from engine_probe.analysis.run.token_times import update_end_ns

COVERED = 0.9  # of the run: with less of it seen there is no figure

Source = Literal["energy counter", "power over time"]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class GpuEnergy:
    device: int
    joules: float
    seconds: float  # the part of the run between the samples
    source: Source


@dataclass(frozen=True)
class Energy:
    """Of all cards that the engine used; what is left out of it is in `notes`."""

    cards: tuple[GpuEnergy, ...]
    notes: tuple[str, ...]

    @property
    def watts(self) -> float:
        """On average over the run."""
        return sum(card.joules / card.seconds for card in self.cards)

    @property
    def sources(self) -> tuple[Source, ...]:
        return tuple(dict.fromkeys(card.source for card in self.cards))


def energy(facts: dict[str, Any], iterations: pa.Table, telemetry: pa.Table) -> Energy | str:
    """The reason where there is none."""
    devices = {card["device"]: card for card in facts.get("telemetry", {}).get("devices", ())}
    rows = telemetry.filter(pc.is_valid(telemetry["device"]))
    if not rows.num_rows:
        return "no card was sampled"
    begin, end = int(iterations["start_ns"][0].as_py()), int(update_end_ns(iterations)[-1])
    asked = sorted(set(rows["device"].to_pylist()))
    held = pc.fill_null(rows["process_memory_bytes"], 0)
    ours = sorted(set(rows.filter(pc.greater(held, 0))["device"].to_pylist())) or asked
    notes = [f"card {each} holds nothing of this engine and is left out" for each in asked if each not in ours]
    if shared := [each for each in ours if devices.get(each, {}).get("mig_instance")]:
        return f"card {shared[0]} is shared (MIG): its power is not this engine's alone"
    found = []
    for device in ours:
        card = of_card(device, rows.filter(pc.equal(rows["device"], device)), begin, end)
        if isinstance(card, str):
            return f"card {device}: {card}"
        found.append(card)
    return Energy(tuple(found), tuple(notes))


def of_card(device: int, rows: pa.Table, begin: int, end: int) -> GpuEnergy | str:
    """By its counter where that moves and never falls; else by the trapezoids under its power."""
    times, counted = readings(rows, "energy_mj")
    if covered(times, begin, end) and (np.diff(counted) >= 0).all() and counted[-1] > counted[0]:
        first, last = max(begin, int(times[0])), min(end, int(times[-1]))
        joules = float(np.interp(last, times, counted) - np.interp(first, times, counted)) / 1e3
        return GpuEnergy(device, joules, (last - first) / 1e9, "energy counter")
    times, power = readings(rows, "power_mw")
    if not len(times):
        return "it tells neither energy nor power"
    if not covered(times, begin, end):
        return f"its samples cover less than {COVERED:.0%} of the run"
    first, last = max(begin, int(times[0])), min(end, int(times[-1]))
    at = np.r_[first, times[(times > first) & (times < last)], last]
    watts = np.asarray(np.interp(at, times, power)) / 1e3
    joules = float(((watts[1:] + watts[:-1]) / 2 * np.diff(at)).sum()) / 1e9
    return GpuEnergy(device, joules, (last - first) / 1e9, "power over time")


def readings(rows: pa.Table, column: str) -> tuple[Integers, Integers]:
    known = rows.filter(pc.is_valid(rows[column])).sort_by("time_ns")
    return known["time_ns"].to_numpy(), known[column].to_numpy()


def covered(times: Integers, begin: int, end: int) -> bool:
    if len(times) < 2:
        return False
    return min(end, int(times[-1])) - max(begin, int(times[0])) >= COVERED * (end - begin)
