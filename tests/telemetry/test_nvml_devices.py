"""Reading GPUs through a fake NVML: a value that a GPU does not give is None, never an error."""

from types import SimpleNamespace
from typing import Any

from engine_probe.telemetry.nvml_devices import read_devices

GIB = 1 << 30
READ, NVLINK = 0, 2  # which kind of peer access is asked for, in NVML's numbers


class NVMLError(Exception):
    pass


def small_nvml(nvlink: bool = False, read: int = 0) -> Any:
    """Two cards on one switch; the second one says little."""

    def only_the_first(value: Any) -> Any:
        def answer(handle: str) -> Any:
            if handle == "handle 1":
                raise NVMLError("Not Supported")
            return value

        return answer

    return SimpleNamespace(
        NVMLError=NVMLError,
        NVML_P2P_CAPS_INDEX_READ=READ,
        NVML_P2P_CAPS_INDEX_NVLINK=NVLINK,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda index: f"handle {index}",
        nvmlSystemGetDriverVersion=lambda: "570.86",
        nvmlSystemGetCudaDriverVersion=lambda: 12080,
        nvmlDeviceGetName=lambda handle: "NVIDIA L40S",
        nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(total=48 * GIB, used=GIB),
        nvmlDeviceGetCudaComputeCapability=only_the_first((8, 9)),
        nvmlDeviceGetMigMode=only_the_first((1, 1)),
        nvmlDeviceGetComputeRunningProcesses=only_the_first([SimpleNamespace(pid=7, usedGpuMemory=GIB)]),
        nvmlDeviceGetP2PStatus=lambda one, other, index: read if index == READ else 0 if nvlink else 5,
    )


def test_a_card_that_answers_and_one_that_does_not() -> None:
    found = read_devices(small_nvml())
    assert (found.driver, found.cuda) == ("570.86", "12.8")
    first, second = found.devices
    assert (first.compute_capability, first.mig, first.processes) == ("8.9", True, ((7, GIB),))
    assert (second.compute_capability, second.mig, second.processes) == (None, None, ())
    assert second.memory_bytes == 48 * GIB


def test_peers_are_named_by_their_road() -> None:
    assert read_devices(small_nvml()).peers == (("itself", "PCIe"), ("PCIe", "itself"))
    assert read_devices(small_nvml(nvlink=True)).peers[0][1] == "NVLink"
    assert read_devices(small_nvml(read=3)).peers[0][1] == "topology does not"
    assert read_devices(small_nvml(read=99)).peers[0][1] == "unknown"
