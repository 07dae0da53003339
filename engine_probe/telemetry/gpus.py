"""The NVIDIA GPUs that this process may use, and their readings. Nothing here changes a GPU."""

import os
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine_probe.telemetry.gpu_readings import READINGS, Reading
from engine_probe.telemetry.pcie import Pcie

VISIBLE = "CUDA_VISIBLE_DEVICES"
ORDER = "CUDA_DEVICE_ORDER"
# Errors that the same GPU and user would get at every sample.
FINAL_ERRORS = (
    "NVMLError_NotSupported",
    "NVMLError_NoPermission",
    "NVMLError_FunctionNotFound",
    "NVMLError_InvalidArgument",
)
TASKS = Path("/proc/self/task")


class Gpu:
    """Reads one GPU, or the MIG instance of it that this process was given."""

    def __init__(self, nvml: Any, handle: Any, instance: Any = None) -> None:
        self._nvml, self._handle = nvml, handle
        self._instance = handle if instance is None else instance
        self.is_instance = instance is not None
        self.device: int = nvml.nvmlDeviceGetIndex(handle)
        self.name = _text(nvml.nvmlDeviceGetName(handle))
        self.uuid = _text(nvml.nvmlDeviceGetUUID(self._instance))
        self.lost = False
        self._final = tuple(getattr(nvml, name) for name in FINAL_ERRORS)
        self._readings = list(READINGS)
        self._pcie = Pcie(nvml, handle)
        self._missing: dict[str, list[str]] = defaultdict(list)  # reason -> columns
        self.is_ours: bool | None = None  # whether NVML has listed one of our processes on it

    @property
    def memory_bytes(self) -> int:
        return int(self._nvml.nvmlDeviceGetMemoryInfo(self._instance).total)

    @property
    def facts(self) -> dict[str, Any]:
        return {"device": self.device, "name": self.name, "uuid": self.uuid, "mig_instance": self.is_instance}

    def read(self, now_ns: int, slow: bool, our_pids: frozenset[int]) -> dict[str, int | None]:
        """Return the columns that could be read; set `lost` if the GPU is lost."""
        row: dict[str, int | None] = {}
        try:
            for reading in tuple(self._readings):
                if slow or not reading.slow:
                    row.update(self._take(reading))
            if slow:
                row["process_memory_bytes"] = self._process_memory(our_pids)
            row.update(self._pcie.read(now_ns, slow))
        except self._nvml.NVMLError_GpuIsLost as error:
            self.lost = True
            self._missing[f"{error}: its rows end there"] = ["all columns"]
        return row

    def _take(self, reading: Reading) -> dict[str, int | None]:
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
        self.is_ours = bool(ours) or bool(self.is_ours)
        return None if not ours or None in ours else sum(ours)

    def notes(self, others_are_ours: bool) -> list[str]:
        """Say which readings are missing, and why."""
        notes = [f"device {self.device}: {', '.join(columns)}: {reason}" for reason, columns in self._missing.items()]
        if self._pcie.note:
            notes.append(f"device {self.device}: {self._pcie.note}")
        if self.is_ours is False and others_are_ours:
            notes.append(f"device {self.device} holds none of our processes: sampled once a second")
        elif self.is_ours is False:
            notes.append(
                f"device {self.device}: process_memory_bytes: NVML lists none of our processes (they hold no memory "
                "there, or NVML's process ids are those of another namespace)"
            )
        if self.is_instance:
            notes.append(f"device {self.device}: memory is that of {self.uuid}, everything else of the whole GPU")
        return notes


def open_gpus(nvml: Any, environment: Mapping[str, str] = os.environ) -> tuple[list[Gpu], list[str]]:
    """Return the GPUs that CUDA shows to this process, and notes about the choice."""
    visible = environment.get(VISIBLE)
    if visible is None:
        handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        gpus = [Gpu(nvml, handle) for handle in handles]
        return gpus, [note for handle, gpu in zip(handles, gpus, strict=True) for note in _mig_note(nvml, handle, gpu)]
    gpus, notes = [], []
    for name in filter(None, (entry.strip() for entry in visible.split(","))):
        try:
            gpus.append(_named_gpu(nvml, name))
        except nvml.NVMLError as error:  # CUDA also ignores what follows such a name
            notes.append(f"{VISIBLE} names {name}, which NVML does not know ({error}): nothing after it is sampled")
            break
    by_number = any(entry.strip().isdigit() for entry in visible.split(","))
    if by_number and environment.get(ORDER) != "PCI_BUS_ID" and len(_models(nvml)) > 1:
        notes.append(f"the GPUs differ and {ORDER} is not PCI_BUS_ID: NVML's numbers may not be CUDA's")
    return gpus, notes


def _named_gpu(nvml: Any, name: str) -> Gpu:
    """Open a GPU by its number or UUID, or a MIG instance by its UUID."""
    if not name.startswith(("GPU-", "MIG-")):
        try:
            number = int(name)
        except ValueError:
            number = -1
        if number < 0:
            raise nvml.NVMLError_NotFound
        return Gpu(nvml, nvml.nvmlDeviceGetHandleByIndex(number))
    handle = nvml.nvmlDeviceGetHandleByUUID(name)
    if name.startswith("GPU-"):
        return Gpu(nvml, handle)
    return Gpu(nvml, nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle), instance=handle)


def _mig_note(nvml: Any, handle: Any, gpu: Gpu) -> list[str]:
    try:
        current, _ = nvml.nvmlDeviceGetMigMode(handle)
    except nvml.NVMLError:
        return []
    if not current:
        return []
    return [f"device {gpu.device} is split by MIG: memory is the whole GPU's; name the instance in {VISIBLE}"]


def _models(nvml: Any) -> set[str]:
    handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
    return {_text(nvml.nvmlDeviceGetName(handle)) for handle in handles}


def our_processes(tasks: Path = TASKS) -> frozenset[int]:
    """Return the ids of this process and its children, such as the workers of a tensor-parallel engine."""
    pids = {os.getpid()}
    for children in tasks.glob("*/children"):
        try:
            pids.update(map(int, children.read_text().split()))
        except OSError:  # the thread has ended
            continue
    return frozenset(pids)


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
