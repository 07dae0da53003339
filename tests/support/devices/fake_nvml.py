"""A stand-in for the module pynvml: cards with values to change, refusals to plant, and nothing behind them."""

from __future__ import annotations

import ctypes
import math
from types import SimpleNamespace
from typing import Any, ClassVar

import pynvml


class NVMLError(Exception):
    words = "Unknown Error"
    by_code: ClassVar[dict[int, type[NVMLError]]] = {}

    def __new__(cls, code: int = 999) -> Any:
        """Make an error of the class that the code stands for, as pynvml does."""
        return super().__new__(cls.by_code.get(code, cls) if cls is NVMLError else cls)

    def __str__(self) -> str:
        return self.words


def _error(words: str, code: int | None = None) -> type[NVMLError]:
    made = type("NVMLError", (NVMLError,), {"words": words})
    if code is not None:
        NVMLError.by_code[code] = made
    return made


class FakeCard:
    """What one card says; `refuses` maps a function's name to the error that it raises."""

    def __init__(self, uuid: str = "GPU-0", name: str = "NVIDIA H200", index: int = 0) -> None:
        self.uuid, self.name, self.index = uuid, name, index
        self.refuses: dict[str, type[NVMLError]] = {}
        self.parent: FakeCard | None = None
        self.mig = 0
        self.power_now_mw: int | None = None  # None: only the average is told
        self.c2c: int | None = None  # links to a CPU in the same package
        self.capability = (9, 0)
        self.gpm: dict[int, float] | None = {}  # by metric, the sum over all time of value x seconds; None: no GPM
        self.gpm_refuses: dict[int, int] = {}  # by metric, the code that is answered instead of a value
        self.seconds = 0.0  # of which `gpm` holds the sums
        self.power_mw, self.energy_mj, self.temperature_c = 350_000, 7_000_000, 61
        self.clocks = {1: 1_980, 2: 3_201}
        self.busy, self.memory_busy, self.used_bytes = 93, 41, 120 << 30
        self.reasons, self.state, self.ecc = 4, 0, {0: 11, 1: 2}
        self.pcie_bytes: list[int] | None = [1_000, 2_000]
        self.pcie_kb = [50, 60]
        self.processes: list[tuple[int, int | None]] = []

    def work(self, seconds: float, **values: float) -> None:
        """Let time pass in which the metrics have these values."""
        assert self.gpm is not None
        self.seconds += seconds
        for name, value in values.items():
            metric = getattr(pynvml, f"NVML_GPM_METRIC_{name}")
            self.gpm[metric] = self.gpm.get(metric, 0.0) + value * seconds


class FakeNvml:
    """The functions that are asked, by their own names; counts how often."""

    NVML_SUCCESS, NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 0, 1, 2, 0
    NVML_MEMORY_ERROR_TYPE_CORRECTED, NVML_MEMORY_ERROR_TYPE_UNCORRECTED, NVML_VOLATILE_ECC = 0, 1, 0
    NVML_FI_DEV_PCIE_COUNT_TX_BYTES, NVML_FI_DEV_PCIE_COUNT_RX_BYTES = 197, 198
    NVML_FI_DEV_POWER_INSTANT, NVML_FI_DEV_C2C_LINK_COUNT, NVML_GPM_METRICS_GET_VERSION = 186, 170, 1
    NVML_GPM_METRIC_SM_UTIL, NVML_GPM_METRIC_ANY_TENSOR_UTIL, NVML_GPM_METRIC_DRAM_BW_UTIL = 2, 5, 10
    NVML_GPM_METRIC_NVLINK_TOTAL_RX_PER_SEC, NVML_GPM_METRIC_NVLINK_TOTAL_TX_PER_SEC = 60, 61
    NVML_GPM_METRIC_C2C_TOTAL_TX_PER_SEC, NVML_GPM_METRIC_C2C_TOTAL_RX_PER_SEC = 100, 101
    NVML_VALUE_TYPE_UNSIGNED_LONG_LONG, NVML_PCIE_UTIL_TX_BYTES, NVML_PCIE_UTIL_RX_BYTES = 3, 0, 1
    NVMLError = NVMLError
    NVMLError_NotSupported = _error("Not Supported", 3)
    NVMLError_NoPermission = _error("Insufficient Permissions", 4)
    NVMLError_FunctionNotFound = _error("Function Not Found")
    NVMLError_InvalidArgument = _error("Invalid Argument")
    NVMLError_NotFound = _error("Not Found")
    NVMLError_GpuIsLost = _error("GPU is lost")
    NVMLError_Timeout = _error("Timeout")

    def __init__(self, *cards: FakeCard) -> None:
        self.cards = list(cards)
        self.asked: dict[str, int] = {}
        self.shut_down = 0
        self.gpm_samples: dict[int, tuple[float, dict[int, float], FakeCard] | None] = {}  # by address; None: empty
        self._gpm_memory: list[Any] = []

    def __getattr__(self, function: str) -> Any:
        """Every function of NVML's that takes a card."""
        answer = ANSWERS[function]

        def ask(card: FakeCard, *arguments: Any) -> Any:
            self.asked[function] = self.asked.get(function, 0) + 1
            if error := card.refuses.get(function) or card.refuses.get("everything"):
                raise error
            if function in ("nvmlGpmSampleGet", "nvmlGpmMigSampleGet"):
                return self._sample(card, *arguments)
            return answer(card, *arguments)

        functions = {
            "nvmlInit": lambda: None,
            "nvmlShutdown": self._shut_down,
            "nvmlDeviceGetCount": lambda: len(self._whole()),
            "nvmlDeviceGetHandleByIndex": self._by_index,
            "nvmlDeviceGetHandleByUUID": self._by_uuid,
            "nvmlDeviceGetMaxMigDeviceCount": lambda card: 7,
            "c_nvmlGpmMetricsGet_t": pynvml.c_nvmlGpmMetricsGet_t,
            "nvmlGpmSampleAlloc": self._allocate_sample,
            "nvmlGpmSampleFree": lambda sample: self.gpm_samples.pop(address(sample)),
            "nvmlGpmMetricsGet": self._metrics,
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

    def _allocate_sample(self) -> Any:
        memory = (ctypes.c_char * 8)()
        sample = ctypes.cast(memory, pynvml.c_nvmlGpmSample_t)
        self._gpm_memory.append(memory)
        self.gpm_samples[address(sample)] = None
        return sample

    def _sample(self, card: FakeCard, *arguments: Any) -> None:
        """Keep the counts of a card, or of the instance of it whose number is given."""
        *numbers, sample = arguments
        if card.mig and not numbers:
            raise self.NVMLError_NotSupported
        counted = (
            next(part for part in self.cards if part.parent is card and part.index == numbers[0]) if numbers else card
        )
        assert counted.gpm is not None
        assert address(sample) in self.gpm_samples
        self.gpm_samples[address(sample)] = counted.seconds, dict(counted.gpm), counted

    def _metrics(self, wanted: Any) -> Any:
        first, second = (self.gpm_samples[address(sample)] for sample in (wanted.sample1, wanted.sample2))
        assert first is not None
        assert second is not None
        assert (wanted.version, first[2]) == (1, second[2])
        for metric in wanted.metrics[: wanted.numMetrics]:
            metric.nvmlReturn = first[2].gpm_refuses.get(metric.metricId, 0)
            grown = second[1].get(metric.metricId, 0.0) - first[1].get(metric.metricId, 0.0)
            metric.value = grown / (second[0] - first[0]) if second[0] > first[0] else math.nan
        return wanted

    def _instance(self, parent: FakeCard, index: int) -> FakeCard:
        """The instances lie at every second place."""
        instances = [card for card in self.cards if card.parent is parent]
        if index % 2 or index // 2 >= len(instances):
            raise self.NVMLError_NotFound
        return instances[index // 2]


def address(sample: Any) -> int:
    return ctypes.addressof(sample.contents)


def _fields(card: FakeCard, fields: list[int]) -> list[SimpleNamespace]:
    if len(fields) == 1:
        value = {FakeNvml.NVML_FI_DEV_POWER_INSTANT: card.power_now_mw, FakeNvml.NVML_FI_DEV_C2C_LINK_COUNT: card.c2c}
        told = value[fields[0]]
        return [SimpleNamespace(nvmlReturn=3 if told is None else 0, valueType=1, value=SimpleNamespace(uiVal=told))]
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
    "nvmlDeviceGetFieldValues": _fields,
    "nvmlDeviceGetCudaComputeCapability": lambda card: card.capability,
    "nvmlDeviceGetGpuInstanceId": lambda card: card.index,
    "nvmlGpmQueryDeviceSupport": lambda card: SimpleNamespace(isSupportedDevice=int(card.gpm is not None)),
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
            "c_nvmlGpmMetricsGet_t",
            "nvmlGpmSampleAlloc",
            "nvmlGpmSampleFree",
            "nvmlGpmSampleGet",
            "nvmlGpmMigSampleGet",
            "nvmlGpmMetricsGet",
            "nvmlDeviceGetMigDeviceHandleByIndex",
        )
    ),
}
