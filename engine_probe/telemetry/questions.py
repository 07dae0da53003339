"""What is asked of a card, and which columns of the table `telemetry` the answer fills."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

# A whole card's sensors belong to all its MIG instances; only memory is an instance's own.
CARD, INSTANCE = "card", "instance"


class Question(NamedTuple):
    """Asked at every sample, or only at the slow ones (once a second): what costs much or changes little."""

    columns: tuple[str, ...]
    ask: Callable[[Any, Any], tuple[int | None, ...]]
    of: str = CARD
    slow: bool = False


def _clocks(nvml: Any, handle: Any) -> tuple[int | None, ...]:
    return (
        nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM),
        nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM),
    )


def _utilisation(nvml: Any, handle: Any) -> tuple[int | None, ...]:
    rates = nvml.nvmlDeviceGetUtilizationRates(handle)
    return rates.gpu, rates.memory


def _throttle_reasons(nvml: Any, handle: Any) -> tuple[int | None, ...]:
    """Older drivers know the question by its older name."""
    try:
        return (nvml.nvmlDeviceGetCurrentClocksEventReasons(handle),)
    except nvml.NVMLError_FunctionNotFound:
        return (nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle),)


def _ecc_errors(nvml: Any, handle: Any) -> tuple[int | None, ...]:
    volatile = nvml.NVML_VOLATILE_ECC
    return (
        nvml.nvmlDeviceGetTotalEccErrors(handle, nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, volatile),
        nvml.nvmlDeviceGetTotalEccErrors(handle, nvml.NVML_MEMORY_ERROR_TYPE_CORRECTED, volatile),
    )


QUESTIONS = (
    Question(("power_mw",), lambda nvml, handle: (nvml.nvmlDeviceGetPowerUsage(handle),)),
    Question(("energy_mj",), lambda nvml, handle: (nvml.nvmlDeviceGetTotalEnergyConsumption(handle),)),
    Question(
        ("temperature_c",), lambda nvml, handle: (nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),)
    ),
    Question(("sm_clock_mhz", "memory_clock_mhz"), _clocks),
    Question(("gpu_utilisation_percent", "memory_utilisation_percent"), _utilisation),
    Question(("memory_used_bytes",), lambda nvml, handle: (nvml.nvmlDeviceGetMemoryInfo(handle).used,), of=INSTANCE),
    Question(("throttle_reasons",), _throttle_reasons),
    Question(("performance_state",), lambda nvml, handle: (nvml.nvmlDeviceGetPerformanceState(handle),), slow=True),
    Question(("ecc_errors", "ecc_corrected_errors"), _ecc_errors, slow=True),
)
