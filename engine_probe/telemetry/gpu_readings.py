"""The NVML calls that fill the columns of `telemetry`; PCIe traffic from byte counters, or from NVML's measurement."""

from collections.abc import Callable
from typing import Any, NamedTuple

# Errors that the same GPU and user would get at every sample.
FINAL_ERRORS = (
    "NVMLError_NotSupported",
    "NVMLError_NoPermission",
    "NVMLError_FunctionNotFound",
    "NVMLError_InvalidArgument",
)
GA100 = (8, 0)  # its compute capability
COLUMNS = ("pcie_tx_bytes_per_s", "pcie_rx_bytes_per_s")
MEASUREMENT_UNIT_BYTES = 1000  # NVML measures in KB/s


class Pcie:
    """Reads the rates of one GPU. NVML's measurement blocks for 20 ms each way and is taken once a second only."""

    def __init__(self, nvml: Any, handle: Any) -> None:
        self._nvml, self._handle = nvml, handle
        self._fields = [nvml.NVML_FI_DEV_PCIE_COUNT_TX_BYTES, nvml.NVML_FI_DEV_PCIE_COUNT_RX_BYTES]
        self._before: tuple[int, list[int]] | None = None
        self._has_counters = self._can_measure = True
        self.note: str | None = None

    def read(self, now_ns: int, slow: bool) -> dict[str, int | None]:
        if self._has_counters:
            counts = self._counts()
            if counts is not None:
                return dict(zip(COLUMNS, self._rates(now_ns, counts), strict=True))
            self._has_counters = False
        if not slow or not self._can_measure:
            return {}
        return self._measure()

    def _counts(self) -> list[int] | None:
        """Return the bytes since the driver was loaded; None if the GPU has no counters, or narrow ones that wrap."""
        try:
            values = self._nvml.nvmlDeviceGetFieldValues(self._handle, self._fields)
        except self._nvml.NVMLError_GpuIsLost:
            raise
        except self._nvml.NVMLError:
            return None
        wide = self._nvml.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG
        if any(value.nvmlReturn != self._nvml.NVML_SUCCESS or value.valueType != wide for value in values):
            return None
        return [value.value.ullVal for value in values]

    def _rates(self, now_ns: int, counts: list[int]) -> list[int | None]:
        before, self._before = self._before, (now_ns, counts)
        if before is None or now_ns <= before[0]:
            return [None, None]
        grown = [late - early for early, late in zip(before[1], counts, strict=True)]
        return [None if growth < 0 else growth * 1_000_000_000 // (now_ns - before[0]) for growth in grown]

    def _measure(self) -> dict[str, int | None]:
        nvml = self._nvml
        try:
            sent, received = (
                nvml.nvmlDeviceGetPcieThroughput(self._handle, way)
                for way in (nvml.NVML_PCIE_UTIL_TX_BYTES, nvml.NVML_PCIE_UTIL_RX_BYTES)
            )
        except nvml.NVMLError_GpuIsLost:
            raise
        except nvml.NVMLError as error:
            self._can_measure = False
            self.note = f"{', '.join(COLUMNS)}: {error}"
            return {}
        self.note = "PCIe traffic is that of 20 ms, once a second: this GPU has no byte counters"
        rates = sent * MEASUREMENT_UNIT_BYTES, received * MEASUREMENT_UNIT_BYTES
        return dict(zip(COLUMNS, rates, strict=True))


class GpuReading(NamedTuple):
    """Fills columns at every sample, or once a second if it is slow."""

    columns: tuple[str, ...]
    read: Callable[[Any, Any], tuple[int | None, ...]]
    of_instance: bool = False  # of the MIG instance; sensors belong to the whole GPU
    slow: bool = False  # it costs much or changes little


def final_errors(nvml: Any) -> tuple[type[Exception], ...]:
    return tuple(getattr(nvml, name) for name in FINAL_ERRORS)


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


def _field(nvml: Any, handle: Any, number: int) -> int:
    (field,) = nvml.nvmlDeviceGetFieldValues(handle, [number])
    if field.nvmlReturn != nvml.NVML_SUCCESS:
        raise nvml.NVMLError(field.nvmlReturn)
    return int(field.value.uiVal)


def _power_now(nvml: Any, handle: Any) -> tuple[int | None, ...]:
    """Return the power of the whole GPU at this moment."""
    return (_field(nvml, handle, nvml.NVML_FI_DEV_POWER_INSTANT),)


def c2c_links(nvml: Any, handle: Any) -> int:
    """Return the number of NVLink-C2C links to the CPU of the same package, as in Grace-Hopper; 0 without any."""
    try:
        return _field(nvml, handle, nvml.NVML_FI_DEV_C2C_LINK_COUNT)
    except nvml.NVMLError:
        return 0


def power_reading(nvml: Any, handle: Any) -> tuple[GpuReading, str]:
    """Return the reading of power, at this moment where the GPU tells that, and the window of its values.

    NVML's own figure is an average of the last second on Ampere and newer GPUs, but not on GA100.
    """
    try:
        _power_now(nvml, handle)
    except nvml.NVMLError:
        reading = GpuReading(("power_mw",), lambda nvml, handle: (nvml.nvmlDeviceGetPowerUsage(handle),))
    else:
        return GpuReading(("power_mw",), _power_now), "instantaneous"
    try:
        capability = tuple(nvml.nvmlDeviceGetCudaComputeCapability(handle))
    except nvml.NVMLError:
        return reading, "not known"
    return reading, "instantaneous" if capability <= GA100 else "average of the last second"


READINGS = (
    GpuReading(("energy_mj",), lambda nvml, handle: (nvml.nvmlDeviceGetTotalEnergyConsumption(handle),)),
    GpuReading(
        ("temperature_c",), lambda nvml, handle: (nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),)
    ),
    GpuReading(("sm_clock_mhz", "memory_clock_mhz"), _clocks),
    GpuReading(("gpu_utilisation_percent", "memory_utilisation_percent"), _utilisation),
    GpuReading(
        ("memory_used_bytes",), lambda nvml, handle: (nvml.nvmlDeviceGetMemoryInfo(handle).used,), of_instance=True
    ),
    GpuReading(("throttle_reasons",), _throttle_reasons),
    GpuReading(("performance_state",), lambda nvml, handle: (nvml.nvmlDeviceGetPerformanceState(handle),), slow=True),
    GpuReading(("ecc_errors", "ecc_corrected_errors"), _ecc_errors, slow=True),
)
