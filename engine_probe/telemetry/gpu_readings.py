"""The NVML calls that fill the columns of `telemetry`."""

from collections.abc import Callable
from typing import Any, NamedTuple


class Reading(NamedTuple):
    """Fills columns at every sample, or once a second if it is slow."""

    columns: tuple[str, ...]
    read: Callable[[Any, Any], tuple[int | None, ...]]
    of_instance: bool = False  # of the MIG instance; sensors belong to the whole GPU
    slow: bool = False  # it costs much or changes little


def _clocks(nvml: Any, handle: Any) -> tuple[int | None, ...]:
    return (
        nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM),
        nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM),
    )


def _utilisation(nvml: Any, handle: Any) -> tuple[int | None, ...]:
    rates = nvml.nvmlDeviceGetUtilizationRates(handle)
    return rates.gpu, rates.memory


def _throttle_reasons(nvml: Any, handle: Any) -> tuple[int | None, ...]:
    """Return the bit mask, by the call's older name on older drivers."""
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


READINGS = (
    Reading(("power_mw",), lambda nvml, handle: (nvml.nvmlDeviceGetPowerUsage(handle),)),
    Reading(("energy_mj",), lambda nvml, handle: (nvml.nvmlDeviceGetTotalEnergyConsumption(handle),)),
    Reading(
        ("temperature_c",), lambda nvml, handle: (nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),)
    ),
    Reading(("sm_clock_mhz", "memory_clock_mhz"), _clocks),
    Reading(("gpu_utilisation_percent", "memory_utilisation_percent"), _utilisation),
    Reading(
        ("memory_used_bytes",), lambda nvml, handle: (nvml.nvmlDeviceGetMemoryInfo(handle).used,), of_instance=True
    ),
    Reading(("throttle_reasons",), _throttle_reasons),
    Reading(("performance_state",), lambda nvml, handle: (nvml.nvmlDeviceGetPerformanceState(handle),), slow=True),
    Reading(("ecc_errors", "ecc_corrected_errors"), _ecc_errors, slow=True),
)
