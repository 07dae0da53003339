"""The energy that GPUs took during a run, from telemetry: their energy counter, or power over time.

Counted are the GPUs of the engine's ranks, by UUID. Recordings without the UUIDs of all ranks count the GPUs on which
NVML listed the engine's processes, which it does not in a container, or all that were sampled if there is one per rank.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine_probe.analysis.run.gpu_health import devices, rows_of
from engine_probe.analysis.run.token_times import update_end_ns
from engine_probe.analysis.statistics.arrays import Integers
from engine_probe.engine.parallelism import DATA, recorded_rank_count

COVERED = 0.9  # of the run must be sampled for a figure

Source = Literal["energy counter", "power over time"]


@dataclass(frozen=True)
class GpuEnergy:
    device: int
    joules: float
    seconds: float  # the part of the run between the samples
    source: Source


@dataclass(frozen=True)
class Energy:
    """The energy of all GPUs that the engine used; `notes` name those left out."""

    gpus: tuple[GpuEnergy, ...]
    notes: tuple[str, ...]

    @property
    def watts(self) -> float:
        """Return the mean power over the run."""
        return sum(gpu.joules / gpu.seconds for gpu in self.gpus)

    @property
    def sources(self) -> tuple[Source, ...]:
        return tuple(dict.fromkeys(gpu.source for gpu in self.gpus))


def energy(facts: dict[str, Any], iterations: pa.Table, telemetry: pa.Table) -> Energy | str:
    """Return the energy of a run, or the reason why there is none."""
    told = {gpu["device"]: gpu for gpu in facts.get("telemetry", {}).get("devices", ())}
    rows = telemetry.filter(pc.is_valid(telemetry["device"]))
    if not rows.num_rows:
        return "no GPU was sampled"
    begin, end = int(iterations["start_ns"][0].as_py()), int(update_end_ns(iterations)[-1])
    used = used_devices(facts, rows)
    if isinstance(used, str):
        return used
    left_out = [device for device in devices(rows) if device not in used]
    notes = [f"GPU {device} holds nothing of this engine and is left out" for device in left_out]
    for device in used:
        if told.get(device, {}).get("mig_instance") or told.get(device, {}).get("mig_split"):
            return f"GPU {device} is shared (MIG): its power is not this engine's alone"
    gpus = []
    for device in used:
        gpu = gpu_energy(device, rows_of(rows, device), begin, end)
        if isinstance(gpu, str):
            return f"GPU {device}: {gpu}"
        window = str(told.get(device, {}).get("power_window"))
        if gpu.source == "power over time" and window.startswith("average"):
            notes.append(f"GPU {device} reports power as an {window}: its energy is that of up to a second earlier")
        gpus.append(gpu)
    return Energy(tuple(gpus), tuple(notes))


def used_devices(facts: dict[str, Any], rows: pa.Table) -> list[int] | str:
    """Return the sampled GPUs that the engine's ranks run on, or why they cannot be told."""
    sampled = devices(rows)
    ranks = [row["device"] for row in facts.get("memory", ())]
    count = recorded_rank_count(facts)
    # A recording has the ranks of one data-parallel replica.
    expected = None if count is None else count // int(facts["engine"]["arguments"]["parallel_config"][DATA])
    if ranks and set(ranks) == {"cpu"}:
        return "the engine runs on the CPU"
    if ranks and "GPU-unknown" not in ranks and expected in (None, len(ranks)):
        number = {bare(gpu["uuid"]): gpu["device"] for gpu in facts.get("telemetry", {}).get("devices", ())}
        if elsewhere := [uuid for uuid in ranks if number.get(bare(uuid)) not in sampled]:
            return f"{elsewhere[0]}, on which a rank runs, was not sampled: NVML of this machine or container lacks it"
        return sorted({number[bare(uuid)] for uuid in ranks})
    held = pc.greater(pc.fill_null(rows["process_memory_bytes"], 0), 0)
    if listed := devices(rows.filter(held)):
        return listed
    if len(sampled) in (1, expected):
        return sampled
    return f"on which of the {len(sampled)} sampled GPUs the engine's ranks run is not recorded"


def bare(uuid: str) -> str:
    """Return a UUID without what precedes it: torch says GPU- also of a MIG instance."""
    return uuid.partition("-")[2]


def gpu_energy(device: int, rows: pa.Table, begin: int, end: int) -> GpuEnergy | str:
    """Return the energy by the counter if that grows and never falls, else as the integral of power."""
    counted = counted_energy(rows, begin, end)
    if counted is not None:
        return GpuEnergy(device, *counted, "energy counter")
    times, power = readings(rows, "power_mw")
    if not len(times):
        return "it reports neither energy nor power"
    if not covered(times, begin, end):
        return f"its samples cover less than {COVERED:.0%} of the run"
    first, last = max(begin, int(times[0])), min(end, int(times[-1]))
    at = np.r_[first, times[(times > first) & (times < last)], last]
    watts = np.asarray(np.interp(at, times, power)) / 1e3
    joules = float(((watts[1:] + watts[:-1]) / 2 * np.diff(at)).sum()) / 1e9
    return GpuEnergy(device, joules, (last - first) / 1e9, "power over time")


def counted_energy(rows: pa.Table, begin: int, end: int) -> tuple[float, float] | None:
    """Return joules and seconds by the energy counter. None unless it covers the run, grows and never falls."""
    times, counted = readings(rows, "energy_mj")
    if not covered(times, begin, end) or (np.diff(counted) < 0).any() or counted[-1] <= counted[0]:
        return None
    first, last = max(begin, int(times[0])), min(end, int(times[-1]))
    joules = float(np.interp(last, times, counted) - np.interp(first, times, counted)) / 1e3
    return joules, (last - first) / 1e9


def host_watts(iterations: pa.Table, telemetry: pa.Table) -> float | None:
    """Return the mean power of the host's CPU packages and memory. None if it was not recorded throughout."""
    rows = telemetry.filter(pc.is_null(telemetry["device"]))
    if not rows.num_rows:
        return None
    counted = counted_energy(rows, int(iterations["start_ns"][0].as_py()), int(update_end_ns(iterations)[-1]))
    return None if counted is None else counted[0] / counted[1]


def readings(rows: pa.Table, column: str) -> tuple[Integers, Integers]:
    """Return the times and values of a column where it is known, in order of time."""
    sampled = rows.filter(pc.is_valid(rows[column])).sort_by("time_ns")
    return sampled["time_ns"].to_numpy(), sampled[column].to_numpy()


def covered(times: Integers, begin: int, end: int) -> bool:
    """Return whether the samples cover enough of the run."""
    if len(times) < 2:
        return False
    return min(end, int(times[-1])) - max(begin, int(times[0])) >= COVERED * (end - begin)
