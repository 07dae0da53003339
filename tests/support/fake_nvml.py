"""A stand-in for the module pynvml: cards with values to change, refusals to plant, and nothing behind them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any


class NVMLError(Exception):
    words = "Unknown Error"

    def __str__(self) -> str:
        return self.words


def _error(words: str) -> type[NVMLError]:
    return type("NVMLError", (NVMLError,), {"words": words})


class FakeCard:
    """What one card says; `refuses` maps a function's name to the error that it raises."""

    def __init__(self, uuid: str = "GPU-0", name: str = "NVIDIA H200", index: int = 0) -> None:
        self.uuid, self.name, self.index = uuid, name, index
        self.refuses: dict[str, type[NVMLError]] = {}
        self.parent: FakeCard | None = None
        self.mig = 0
        self.power_mw, self.energy_mj, self.temperature_c = 350_000, 7_000_000, 61
        self.clocks = {1: 1_980, 2: 3_201}
        self.busy, self.memory_busy, self.used_bytes = 93, 41, 120 << 30
        self.reasons, self.state, self.ecc = 4, 0, {0: 11, 1: 2}
        self.pcie_bytes: list[int] | None = [1_000, 2_000]
        self.pcie_kb = [50, 60]
        self.processes: list[tuple[int, int | None]] = []


class FakeNvml:
    """The functions that are asked, by their own names; counts how often."""

    NVML_SUCCESS, NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 0, 1, 2, 0
    NVML_MEMORY_ERROR_TYPE_CORRECTED, NVML_MEMORY_ERROR_TYPE_UNCORRECTED, NVML_VOLATILE_ECC = 0, 1, 0
    NVML_FI_DEV_PCIE_COUNT_TX_BYTES, NVML_FI_DEV_PCIE_COUNT_RX_BYTES = 197, 198
    NVML_VALUE_TYPE_UNSIGNED_LONG_LONG, NVML_PCIE_UTIL_TX_BYTES, NVML_PCIE_UTIL_RX_BYTES = 3, 0, 1
    NVMLError = NVMLError
    NVMLError_NotSupported = _error("Not Supported")
    NVMLError_NoPermission = _error("Insufficient Permissions")
    NVMLError_FunctionNotFound = _error("Function Not Found")
    NVMLError_InvalidArgument = _error("Invalid Argument")
    NVMLError_NotFound = _error("Not Found")
    NVMLError_GpuIsLost = _error("GPU is lost")
    NVMLError_Timeout = _error("Timeout")

    def __init__(self, *cards: FakeCard) -> None:
        self.cards = list(cards)
        self.asked: dict[str, int] = {}
        self.shut_down = 0

    def __getattr__(self, function: str) -> Any:
        """Every function of NVML's that takes a card."""
        answer = ANSWERS[function]

        def ask(card: FakeCard, *arguments: Any) -> Any:
            self.asked[function] = self.asked.get(function, 0) + 1
            if error := card.refuses.get(function) or card.refuses.get("everything"):
                raise error
            return answer(card, *arguments)

        functions = {
            "nvmlInit": lambda: None,
            "nvmlShutdown": self._shut_down,
            "nvmlDeviceGetCount": lambda: len(self._whole()),
            "nvmlDeviceGetHandleByIndex": self._by_index,
            "nvmlDeviceGetHandleByUUID": self._by_uuid,
            "nvmlDeviceGetMaxMigDeviceCount": lambda card: 7,
            "nvmlDeviceGetMigDeviceHandleByIndex": self._instance,
        }
        return functions.get(function, ask)

    def _shut_down(self) -> None:
        self.shut_down += 1

    def _whole(self) -> list[FakeCard]:
        return [card for card in self.cards if card.parent is None]

    def _by_index(self, index: int) -> FakeCard:
        if index >= len(self._whole()):
            raise self.NVMLError_InvalidArgument
        return self._whole()[index]

    def _by_uuid(self, uuid: str) -> FakeCard:
        for card in self.cards:
            if card.uuid == uuid:
                return card
        raise self.NVMLError_NotFound

    def _instance(self, parent: FakeCard, index: int) -> FakeCard:
        """The instances lie at every second place."""
        instances = [card for card in self.cards if card.parent is parent]
        if index % 2 or index // 2 >= len(instances):
            raise self.NVMLError_NotFound
        return instances[index // 2]


def _counters(card: FakeCard, fields: list[int]) -> list[SimpleNamespace]:
    if card.pcie_bytes is None:
        return [SimpleNamespace(nvmlReturn=3, valueType=0, value=None) for _ in fields]
    return [
        SimpleNamespace(nvmlReturn=0, valueType=3, value=SimpleNamespace(ullVal=count)) for count in card.pcie_bytes
    ]


ANSWERS: dict[str, Any] = {
    "nvmlDeviceGetIndex": lambda card: card.index,
    "nvmlDeviceGetName": lambda card: card.name,
    "nvmlDeviceGetUUID": lambda card: card.uuid,
    "nvmlDeviceGetMigMode": lambda card: (card.mig, card.mig),
    "nvmlDeviceGetDeviceHandleFromMigDeviceHandle": lambda card: card.parent,
    "nvmlDeviceGetPowerUsage": lambda card: card.power_mw,
    "nvmlDeviceGetTotalEnergyConsumption": lambda card: card.energy_mj,
    "nvmlDeviceGetTemperature": lambda card, sensor: card.temperature_c,
    "nvmlDeviceGetClockInfo": lambda card, kind: card.clocks[kind],
    "nvmlDeviceGetUtilizationRates": lambda card: SimpleNamespace(gpu=card.busy, memory=card.memory_busy),
    "nvmlDeviceGetMemoryInfo": lambda card: SimpleNamespace(used=card.used_bytes, total=141 << 30),
    "nvmlDeviceGetCurrentClocksEventReasons": lambda card: card.reasons,
    "nvmlDeviceGetCurrentClocksThrottleReasons": lambda card: card.reasons,
    "nvmlDeviceGetPerformanceState": lambda card: card.state,
    "nvmlDeviceGetTotalEccErrors": lambda card, kind, counter: card.ecc[kind],
    "nvmlDeviceGetFieldValues": _counters,
    "nvmlDeviceGetPcieThroughput": lambda card, way: card.pcie_kb[way],
    "nvmlDeviceGetComputeRunningProcesses": lambda card: [
        SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in card.processes
    ],
    **dict.fromkeys(
        (
            "nvmlInit",
            "nvmlShutdown",
            "nvmlDeviceGetCount",
            "nvmlDeviceGetHandleByIndex",
            "nvmlDeviceGetHandleByUUID",
            "nvmlDeviceGetMaxMigDeviceCount",
            "nvmlDeviceGetMigDeviceHandleByIndex",
        )
    ),
}
