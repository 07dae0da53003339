"""The NVIDIA GPUs that this process may use, and their readings. Nothing here changes a GPU."""

import os
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Any

from engine_probe.telemetry.gpm import Gpm
from engine_probe.telemetry.gpu_readings import READINGS, GpuReading, Pcie, c2c_links, final_errors, power_reading


class GpuReader:
    """Reads one GPU, or the MIG instance of it that this process was given."""

    def __init__(self, nvml: Any, handle: Any, instance: Any = None) -> None:
        self._nvml, self._handle = nvml, handle
        self.split = is_split(nvml, handle)
        if instance is None and self.split:
            instance = only_instance(nvml, handle)
        self._instance = handle if instance is None else instance
        self.is_instance = instance is not None
        self.device: int = nvml.nvmlDeviceGetIndex(handle)
        self.name: str = nvml.nvmlDeviceGetName(handle)
        self.uuid: str = nvml.nvmlDeviceGetUUID(self._instance)
        self.runs_rank: bool | None = None  # whether a rank of the engine runs there; None if its UUID is not known
        self.lost = False
        self._final = final_errors(nvml)
        self.c2c_links = c2c_links(nvml, handle)
        power, self.power_window = power_reading(nvml, handle)
        self._readings = [power, *READINGS]
        self._pcie, self._gpm = Pcie(nvml, handle), Gpm(nvml, handle, instance)
        self._missing: dict[str, list[str]] = defaultdict(list)  # reason -> columns
        self._listed: bool | None = None  # whether NVML has listed one of our processes on it

    @property
    def is_ours(self) -> bool | None:
        return self._listed if self.runs_rank is None else self.runs_rank

    @property
    def memory_bytes(self) -> int | None:
        """Return the size of its memory. None if it has none of its own, as GB10, which uses the host's."""
        try:
            return int(self._nvml.nvmlDeviceGetMemoryInfo(self._instance).total)
        except self._nvml.NVMLError_NotSupported:
            return None

    @property
    def facts(self) -> dict[str, Any]:
        return {
            "device": self.device,
            "name": self.name,
            "uuid": self.uuid,
            "mig_instance": self.is_instance,
            "mig_split": self.split,
            "power_window": self.power_window,
            "c2c_links": self.c2c_links,
        }

    def read(self, now_ns: int, slow: bool, our_pids: frozenset[int]) -> dict[str, float | int | None]:
        """Return the columns that could be read; set `lost` if the GPU is lost."""
        row: dict[str, float | int | None] = {}
        try:
            for reading in tuple(self._readings):
                if slow or not reading.slow:
                    row.update(self._take(reading))
            if slow:
                row["process_memory_bytes"] = self._process_memory(our_pids)
                row.update(self._gpm.read())
            row.update(self._pcie.read(now_ns, slow))
        except self._nvml.NVMLError_GpuIsLost as error:
            self.lost = True
            self._missing[f"{error}: its rows end there"] = ["all columns"]
        return row

    def _take(self, reading: GpuReading) -> dict[str, int | None]:
        handle = self._instance if reading.of_instance else self._handle
        try:
            return dict(zip(reading.columns, reading.read(self._nvml, handle), strict=True))
        except self._nvml.NVMLError_GpuIsLost:
            raise
        except self._nvml.NVMLError as error:
            self._note_missing(reading.columns, error)
            if isinstance(error, self._final):
                self._readings.remove(reading)
            return {}

    def _note_missing(self, columns: tuple[str, ...], error: Exception) -> None:
        noted = self._missing[str(error)]
        noted += [column for column in columns if column not in noted]

    def _process_memory(self, our_pids: frozenset[int]) -> int | None:
        """Return the memory of this process and its children; None if NVML does not list them.

        NVML lists process ids of the host, which a container does not know.
        """
        try:
            running = self._nvml.nvmlDeviceGetComputeRunningProcesses(self._instance)
        except self._nvml.NVMLError_GpuIsLost:
            raise
        except self._nvml.NVMLError as error:
            self._note_missing(("process_memory_bytes",), error)
            return None
        ours = [process.usedGpuMemory for process in running if process.pid in our_pids]
        self._listed = bool(ours) or bool(self._listed)
        return None if not ours or None in ours else sum(ours)

    def close(self) -> None:
        with suppress(self._nvml.NVMLError):
            self._gpm.close()

    def notes(self, others_are_ours: bool) -> list[str]:
        """Say which readings are missing, and why."""
        missing = (*self._missing.items(), *self._gpm.missing.items())
        notes = [f"device {self.device}: {', '.join(columns)}: {reason}" for reason, columns in missing]
        if self._pcie.note:
            notes.append(f"device {self.device}: {self._pcie.note}")
        if self.is_ours is False and others_are_ours:
            notes.append(f"device {self.device} holds none of our processes: sampled once a second")
        elif self._listed is False:
            notes.append(
                f"device {self.device}: process_memory_bytes: NVML lists none of our processes (they hold no memory "
                "there, or NVML's process ids are those of another namespace)"
            )
        if "memory_used_bytes" in self._missing.get("Not Supported", ()):
            notes.append(
                f"device {self.device} has no memory of its own: it uses the host's, which the host's rows tell"
            )
        if self.c2c_links:
            notes.append(
                f"device {self.device} is linked to its CPU by NVLink-C2C ({self.c2c_links} links): the PCIe columns "
                "do not count that traffic"
            )
        if self.is_instance:
            notes.append(f"device {self.device}: memory is that of {self.uuid}, everything else of the whole GPU")
        elif self.split:
            notes.append(
                f"device {self.device} is split by MIG: memory is the whole GPU's; name the instance in "
                "CUDA_VISIBLE_DEVICES"
            )
        return notes


def is_split(nvml: Any, handle: Any) -> bool:
    """Return whether a GPU is split by MIG."""
    try:
        return bool(nvml.nvmlDeviceGetMigMode(handle)[0])
    except nvml.NVMLError:
        return False


def only_instance(nvml: Any, handle: Any) -> Any:
    """Return the one MIG instance that this process sees, as in a container that was given it; None if not one."""
    instances = []
    with suppress(nvml.NVMLError):
        for index in range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
            with suppress(nvml.NVMLError_NotFound):  # NVML numbers also places that hold no instance
                instances.append(nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index))
    return instances[0] if len(instances) == 1 else None


def our_processes() -> frozenset[int]:
    """Return the ids of this process and its children, such as the workers of a tensor-parallel engine."""
    pids = {os.getpid()}
    for children in Path("/proc/self/task").glob("*/children"):
        try:
            pids.update(map(int, children.read_text().split()))
        except OSError:  # the thread has ended
            continue
    return frozenset(pids)
