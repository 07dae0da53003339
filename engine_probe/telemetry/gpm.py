"""What the units of a GPU did between two readings, by NVML's GPU performance monitoring (Hopper and newer).

The GPU counts; a figure is the difference of two samples over the time between them. So a reading once a second leaves
no time out. A MIG instance has counts of its own.
"""

import math
from typing import Any

from engine_probe.telemetry.gpu_readings import final_errors

MIB = 1 << 20  # NVML gives traffic in MiB/s
# Column -> NVML's metric and the column's units in one of the metric's.
METRICS = {
    "sm_activity_percent": ("NVML_GPM_METRIC_SM_UTIL", 1),
    "tensor_activity_percent": ("NVML_GPM_METRIC_ANY_TENSOR_UTIL", 1),
    "dram_bandwidth_percent": ("NVML_GPM_METRIC_DRAM_BW_UTIL", 1),
    "nvlink_tx_bytes_per_s": ("NVML_GPM_METRIC_NVLINK_TOTAL_TX_PER_SEC", MIB),
    "nvlink_rx_bytes_per_s": ("NVML_GPM_METRIC_NVLINK_TOTAL_RX_PER_SEC", MIB),
    "c2c_tx_bytes_per_s": ("NVML_GPM_METRIC_C2C_TOTAL_TX_PER_SEC", MIB),
    "c2c_rx_bytes_per_s": ("NVML_GPM_METRIC_C2C_TOTAL_RX_PER_SEC", MIB),
}


class Gpm:
    """Reads one GPU, or one MIG instance of it; `missing` holds the columns without a value, by the reason."""

    def __init__(self, nvml: Any, handle: Any, instance: Any = None) -> None:
        self._nvml, self._handle, self._instance = nvml, handle, instance
        self._samples: list[Any] = []  # the last one, and room for the next
        self._has_sample = False
        self._columns = [column for column, (metric, _) in METRICS.items() if hasattr(nvml, metric)]
        self.missing: dict[str, list[str]] = {}
        if len(self._columns) < len(METRICS):
            self._lacks("the package nvidia-ml-py does not know them", *(METRICS.keys() - set(self._columns)))
        self._final = final_errors(nvml)
        self._can_read = True

    def read(self) -> dict[str, float | int | None]:
        """Return the figures of the time since the last call; the first call has none."""
        if not self._can_read:
            return {}
        try:
            return self._read()
        except self._nvml.NVMLError_GpuIsLost:
            raise
        except self._nvml.NVMLError as error:
            self._lacks(str(error), *self._columns)
            self._can_read, self._has_sample = not isinstance(error, self._final), False
            return {}

    def _read(self) -> dict[str, float | int | None]:
        if not self._samples and not self._nvml.nvmlGpmQueryDeviceSupport(self._handle).isSupportedDevice:
            self._lacks("this GPU has no performance monitoring (GPM)", *self._columns)
            self._can_read = False
            return {}
        while len(self._samples) < 2:
            self._samples.append(self._nvml.nvmlGpmSampleAlloc())
        last, new = self._samples
        self._take(new)
        figures = self._figures(last, new) if self._has_sample else {}
        self._samples, self._has_sample = [new, last], True
        return figures

    def _take(self, sample: Any) -> None:
        if self._instance is None:
            self._nvml.nvmlGpmSampleGet(self._handle, sample)
        else:
            number = self._nvml.nvmlDeviceGetGpuInstanceId(self._instance)
            self._nvml.nvmlGpmMigSampleGet(self._handle, number, sample)

    def _figures(self, last: Any, new: Any) -> dict[str, float | int | None]:
        nvml, columns = self._nvml, tuple(self._columns)
        wanted = nvml.c_nvmlGpmMetricsGet_t()
        wanted.version, wanted.numMetrics = nvml.NVML_GPM_METRICS_GET_VERSION, len(columns)
        wanted.sample1, wanted.sample2 = last, new
        for place, column in enumerate(columns):
            wanted.metrics[place].metricId = getattr(nvml, METRICS[column][0])
        answered = nvml.nvmlGpmMetricsGet(wanted).metrics
        return {column: self._figure(column, answered[place]) for place, column in enumerate(columns)}

    def _figure(self, column: str, metric: Any) -> float | int | None:
        if metric.nvmlReturn != self._nvml.NVML_SUCCESS:
            self._lacks(str(self._nvml.NVMLError(metric.nvmlReturn)), column)
            self._columns.remove(column)
            return None
        value, scale = float(metric.value), METRICS[column][1]
        if not math.isfinite(value):
            return None
        return value if scale == 1 else round(value * scale)

    def _lacks(self, reason: str, *columns: str) -> None:
        noted = self.missing.setdefault(reason, [])
        noted += [column for column in METRICS if column in columns and column not in noted]

    def close(self) -> None:
        """Give the samples back to NVML."""
        while self._samples:
            self._nvml.nvmlGpmSampleFree(self._samples.pop())
        self._can_read = False
