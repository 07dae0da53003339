"""The NVIDIA cards this process may use, and what each says at a sample. Nothing here changes a card."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine_probe.telemetry.pcie import Pcie
from engine_probe.telemetry.questions import INSTANCE, QUESTIONS

VISIBLE = "CUDA_VISIBLE_DEVICES"
ORDER = "CUDA_DEVICE_ORDER"
# A card or user that answers so will not answer otherwise a moment later.
FINAL_ERRORS = (
    "NVMLError_NotSupported",
    "NVMLError_NoPermission",
    "NVMLError_FunctionNotFound",
    "NVMLError_InvalidArgument",
)
TASKS = Path("/proc/self/task")


class Card:
    """One card, or the MIG instance of it that this process was given."""

    def __init__(self, nvml: Any, handle: Any, instance: Any = None) -> None:
        self._nvml, self._handle = nvml, handle
        self._instance = handle if instance is None else instance
        self.is_instance = instance is not None
        self.device: int = nvml.nvmlDeviceGetIndex(handle)
        self.name = _text(nvml.nvmlDeviceGetName(handle))
        self.uuid = _text(nvml.nvmlDeviceGetUUID(self._instance))
        self.lost = False
        self._final = tuple(getattr(nvml, name) for name in FINAL_ERRORS)
        self._open = list(QUESTIONS)
        self._pcie = Pcie(nvml, handle)
        self._refused: dict[str, list[str]] = defaultdict(list)  # reason -> columns
        self.is_ours: bool | None = None  # whether NVML has named a process of ours on it

    @property
    def memory_bytes(self) -> int:
        return int(self._nvml.nvmlDeviceGetMemoryInfo(self._instance).total)

    @property
    def facts(self) -> dict[str, Any]:
        return {"device": self.device, "name": self.name, "uuid": self.uuid, "mig_instance": self.is_instance}

    def read(self, now_ns: int, slow: bool, our_pids: frozenset[int]) -> dict[str, int | None]:
        """The columns that could be read. A lost card is never asked again."""
        found: dict[str, int | None] = {}
        try:
            for question in tuple(self._open):
                if slow or not question.slow:
                    self._ask(question.columns, question, found)
            if slow:
                found["process_memory_bytes"] = self._process_memory(our_pids)
            found.update(self._pcie.read(now_ns, slow))
        except self._nvml.NVMLError_GpuIsLost as error:
            self.lost = True
            self._refused[f"{error}: its rows end there"] = ["the card"]
        return found

    def _ask(self, columns: tuple[str, ...], question: Any, found: dict[str, int | None]) -> None:
        handle = self._instance if question.of == INSTANCE else self._handle
        try:
            found.update(zip(columns, question.ask(self._nvml, handle), strict=True))
        except self._nvml.NVMLError_GpuIsLost:
            raise
        except self._nvml.NVMLError as error:
            self._refuse(columns, error)
            if isinstance(error, self._final):
                self._open.remove(question)

    def _refuse(self, columns: tuple[str, ...], error: Exception) -> None:
        known = self._refused[str(error)]
        known += [column for column in columns if column not in known]

    def _process_memory(self, our_pids: frozenset[int]) -> int | None:
        """By this process and its children. NVML may see others only, or numbers of another namespace."""
        try:
            running = self._nvml.nvmlDeviceGetComputeRunningProcesses(self._instance)
        except self._nvml.NVMLError_GpuIsLost:
            raise
        except self._nvml.NVMLError as error:
            self._refuse(("process_memory_bytes",), error)
            return None
        ours = [process.usedGpuMemory for process in running if process.pid in our_pids]
        self.is_ours = bool(ours) or bool(self.is_ours)
        return None if not ours or None in ours else sum(ours)

    def notes(self, others_are_ours: bool) -> list[str]:
        """What this card did not say, and why: once, not at every sample."""
        said = [f"device {self.device}: {', '.join(what)}: {why}" for why, what in self._refused.items()]
        if self._pcie.note:
            said.append(f"device {self.device}: {self._pcie.note}")
        if self.is_ours is False and others_are_ours:
            said.append(f"device {self.device} holds nothing of ours: sampled once a second")
        elif self.is_ours is False:
            said.append(
                f"device {self.device}: process_memory_bytes: NVML names none of our processes (they hold nothing "
                "there, or their numbers are those of another namespace)"
            )
        if self.is_instance:
            said.append(f"device {self.device}: memory is that of {self.uuid}, everything else of the whole card")
        return said


def open_cards(nvml: Any, environment: Mapping[str, str] = os.environ) -> tuple[list[Card], list[str]]:
    """The cards that CUDA shows to this process, and what must be said about the choice."""
    named = environment.get(VISIBLE)
    if named is None:
        handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        cards = [Card(nvml, handle) for handle in handles]
        return cards, [
            note for handle, card in zip(handles, cards, strict=True) for note in _mig_note(nvml, handle, card)
        ]
    cards, notes = [], []
    for name in filter(None, (entry.strip() for entry in named.split(","))):
        try:
            cards.append(_named_card(nvml, name))
        except nvml.NVMLError as error:  # CUDA, too, ignores what follows such a name
            notes.append(f"{VISIBLE} names {name}, which NVML does not know ({error}): nothing after it is sampled")
            break
    by_number = any(entry.strip().isdigit() for entry in named.split(","))
    if by_number and environment.get(ORDER) != "PCI_BUS_ID" and len(_models(nvml)) > 1:
        notes.append(f"the cards differ and {ORDER} is not PCI_BUS_ID: NVML's numbers may not be CUDA's")
    return cards, notes


def _named_card(nvml: Any, name: str) -> Card:
    """By number, or by the identity of a card or of a MIG instance."""
    if not name.startswith(("GPU-", "MIG-")):
        try:
            number = int(name)
        except ValueError:
            number = -1
        if number < 0:
            raise nvml.NVMLError_NotFound
        return Card(nvml, nvml.nvmlDeviceGetHandleByIndex(number))
    handle = nvml.nvmlDeviceGetHandleByUUID(name)
    if name.startswith("GPU-"):
        return Card(nvml, handle)
    return Card(nvml, nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle), instance=handle)


def _mig_note(nvml: Any, handle: Any, card: Card) -> list[str]:
    try:
        current, _ = nvml.nvmlDeviceGetMigMode(handle)
    except nvml.NVMLError:
        return []
    if not current:
        return []
    return [f"device {card.device} is split by MIG: memory is the whole card's; name the instance in {VISIBLE}"]


def _models(nvml: Any) -> set[str]:
    handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
    return {_text(nvml.nvmlDeviceGetName(handle)) for handle in handles}


def our_processes(tasks: Path = TASKS) -> frozenset[int]:
    """This process and its children: the workers of a tensor-parallel engine."""
    found = {os.getpid()}
    for children in tasks.glob("*/children"):
        try:
            found.update(map(int, children.read_text().split()))
        except OSError:  # a thread that has just ended
            continue
    return frozenset(found)


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
