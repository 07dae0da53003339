"""What GPUs report about themselves through NVML. Nothing here changes a device."""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from kernels_bench.results import Device, Health, Reading

PATHS = {0: "one board", 10: "same switch", 20: "several switches", 30: "one host bridge", 40: "same NUMA node"}
CROSSING = "crossing NUMA"
WORD_BITS = 64
NVLINK = "NVLink"


class Nvml:
    """Holds the module pynvml, initialised, and the handle of each device by its name in torch."""

    def __init__(self, module: Any, devices: tuple[Device, ...]) -> None:
        self.module = module
        self.handles = {device.target: self._handle(device) for device in devices if device.is_cuda}

    def _handle(self, device: Device) -> Any:
        """Find a device by its UUID, because the numbers of torch and NVML may differ; it may be a MIG instance."""
        whole = self.ask("nvmlDeviceGetHandleByUUID", device.identity)
        return whole or self.ask("nvmlDeviceGetHandleByUUID", device.identity.replace("GPU-", "MIG-"))

    def ask(self, function: str, *arguments: Any) -> Any:
        """Call a function of NVML; return None if this GPU or driver does not support it."""
        try:
            return getattr(self.module, function)(*arguments)
        except (self.module.NVMLError, AttributeError):
            return None


@contextmanager
def open_nvml(devices: tuple[Device, ...]) -> Iterator[Nvml | None]:
    """Yield NVML while it is initialised; None if this machine has none."""
    module = _initialised()
    try:
        yield Nvml(module, devices) if module else None
    finally:
        if module:
            module.nvmlShutdown()


def _initialised() -> ModuleType | None:
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    module: ModuleType = pynvml
    return module


def read_health(nvml: Nvml | None, device: Device) -> Health:
    handle = nvml.handles.get(device.target) if nvml else None
    if nvml is None or handle is None:
        return Health()
    ask = nvml.ask
    memory, busy = ask("nvmlDeviceGetMemoryInfo", handle), ask("nvmlDeviceGetUtilizationRates", handle)
    remapped, retired = ask("nvmlDeviceGetRemappedRows", handle), _retired(nvml, handle)
    mig, ecc = ask("nvmlDeviceGetMigMode", handle), ask("nvmlDeviceGetEccMode", handle)
    driver, running = ask("nvmlSystemGetDriverVersion"), _processes(nvml, handle)
    links = _nvlinks(nvml, handle)
    return Health(
        uuid=device.identity,
        driver=driver.decode() if isinstance(driver, bytes) else driver,
        memory_bytes=memory.total if memory else None,
        used_bytes=memory.used if memory else None,
        busy_percent=busy.gpu if busy else None,
        processes=None if running is None else tuple(pid for pid in running if pid != os.getpid()),
        sees_this_process=None if running is None else os.getpid() in running,
        mig=True if " MIG " in device.name else bool(mig[0]) if mig is not None else None,
        persistence=_yes(ask("nvmlDeviceGetPersistenceMode", handle)),
        ecc=bool(ecc[0]) if ecc is not None else None,
        ecc_corrected=_ecc(nvml, handle, "CORRECTED"),
        ecc_uncorrected=_ecc(nvml, handle, "UNCORRECTED"),
        rows_remapped_corrected=remapped[0] if remapped else None,
        rows_remapped_uncorrected=remapped[1] if remapped else None,
        row_remap_pending=bool(remapped[2]) if remapped else None,
        row_remap_failed=bool(remapped[3]) if remapped else None,
        pages_retired=retired,
        page_retirement_pending=_yes(ask("nvmlDeviceGetRetiredPagesPendingStatus", handle)),
        pcie_generation_max=ask("nvmlDeviceGetMaxPcieLinkGeneration", handle),
        pcie_generation_card=ask("nvmlDeviceGetGpuMaxPcieLinkGeneration", handle),
        pcie_width_max=ask("nvmlDeviceGetMaxPcieLinkWidth", handle),
        pcie_replays=ask("nvmlDeviceGetPcieReplayCounter", handle),
        c2c_links=_c2c_links(nvml, handle),
        nvlinks=None if links is None else len(links),
        nvlinks_up=None if links is None else sum(links),
        nvlink_errors=_nvlink_errors(nvml, handle),
        power_limit_mw=ask("nvmlDeviceGetEnforcedPowerLimit", handle),
        power_default_mw=ask("nvmlDeviceGetPowerManagementDefaultLimit", handle),
    )


def reader(nvml: Nvml | None, device: Device) -> Callable[[], Reading] | None:
    """Return a function that samples the GPU while it works; None if NVML does not know it."""
    handle = nvml.handles.get(device.target) if nvml else None
    if nvml is None or handle is None:
        return None

    def read() -> Reading:
        ask, module = nvml.ask, nvml.module
        return Reading(
            at_ns=time.monotonic_ns(),
            sm_mhz=ask("nvmlDeviceGetClockInfo", handle, module.NVML_CLOCK_SM),
            memory_mhz=ask("nvmlDeviceGetClockInfo", handle, module.NVML_CLOCK_MEM),
            power_mw=ask("nvmlDeviceGetPowerUsage", handle),
            temperature_c=ask("nvmlDeviceGetTemperature", handle, module.NVML_TEMPERATURE_GPU),
            slowed_by=_slowed_by(nvml, handle),
            pcie_generation=ask("nvmlDeviceGetCurrPcieLinkGeneration", handle),
            pcie_width=ask("nvmlDeviceGetCurrPcieLinkWidth", handle),
        )

    return read


def topology(nvml: Nvml | None, one: Device, other: Device) -> str:
    """Return the name of the path between two GPUs."""
    ends = [nvml.handles.get(device.target) for device in (one, other)] if nvml else []
    if nvml is None or None in ends:
        return "unknown"
    if nvml.ask("nvmlDeviceGetP2PStatus", *ends, nvml.module.NVML_P2P_CAPS_INDEX_NVLINK) == 0:
        return NVLINK
    level = nvml.ask("nvmlDeviceGetTopologyCommonAncestor", *ends)
    return "unknown" if level is None else PATHS.get(level, CROSSING)


def near_cpus(nvml: Nvml | None, device: Device) -> tuple[int, ...]:
    """Return the numbers of the cores on the GPU's NUMA node; none if the driver does not report them."""
    handle = nvml.handles.get(device.target) if nvml else None
    if nvml is None or handle is None:
        return ()
    words = (os.cpu_count() or 1) // WORD_BITS + 1
    masks = nvml.ask("nvmlDeviceGetCpuAffinity", handle, words) or ()
    return tuple(
        WORD_BITS * word + bit for word, mask in enumerate(masks) for bit in range(WORD_BITS) if mask >> bit & 1
    )


class XidWatch:
    """Listens for the Xid errors that the driver reports."""

    def __init__(self, nvml: Nvml | None) -> None:
        self._nvml = nvml
        self._events = nvml.ask("nvmlEventSetCreate") if nvml else None
        self._targets: dict[Any, str] = {}  # by UUID, because an event has another handle object
        if nvml and self._events:
            for target, handle in nvml.handles.items():
                self._targets[nvml.ask("nvmlDeviceGetUUID", handle)] = target
                nvml.ask("nvmlDeviceRegisterEvents", handle, nvml.module.nvmlEventTypeXidCriticalError, self._events)

    def close(self) -> dict[str, list[int]]:
        """Return the Xids of each GPU since the start, oldest first; one of an unknown GPU counts for all."""
        xids: dict[str, list[int]] = {}
        if self._nvml is None or not self._events:
            return xids
        while (event := self._nvml.ask("nvmlEventSetWait_v2", self._events, 0)) is not None:
            target = self._targets.get(self._nvml.ask("nvmlDeviceGetUUID", event.device))
            for owner in [target] if target else self._targets.values():
                xids.setdefault(owner, []).append(int(event.eventData))
        self._nvml.ask("nvmlEventSetFree", self._events)
        return xids


def _yes(answer: int | None) -> bool | None:
    return None if answer is None else bool(answer)


def _processes(nvml: Nvml, handle: Any) -> tuple[int, ...] | None:
    processes = nvml.ask("nvmlDeviceGetComputeRunningProcesses", handle)
    return None if processes is None else tuple(sorted(process.pid for process in processes))


def _ecc(nvml: Nvml, handle: Any, kind: str) -> int | None:
    error_type = getattr(nvml.module, f"NVML_MEMORY_ERROR_TYPE_{kind}")
    count: int | None = nvml.ask("nvmlDeviceGetTotalEccErrors", handle, error_type, nvml.module.NVML_VOLATILE_ECC)
    return count


def _retired(nvml: Nvml, handle: Any) -> int | None:
    causes = ("MULTIPLE_SINGLE_BIT_ECC_ERRORS", "DOUBLE_BIT_ECC_ERROR")
    pages = [
        nvml.ask("nvmlDeviceGetRetiredPages", handle, getattr(nvml.module, f"NVML_PAGE_RETIREMENT_CAUSE_{cause}"))
        for cause in causes
    ]
    return _total(None if page is None else len(page) for page in pages)


def _slowed_by(nvml: Nvml, handle: Any) -> int | None:
    """Return the bit mask of reasons for reduced clocks, by the call's older name on older drivers."""
    bits: int | None = nvml.ask("nvmlDeviceGetCurrentClocksEventReasons", handle)
    return bits if bits is not None else nvml.ask("nvmlDeviceGetCurrentClocksThrottleReasons", handle)


def _c2c_links(nvml: Nvml, handle: Any) -> int | None:
    """Return the number of NVLink-C2C links, as between Grace and Hopper; None if the driver does not know them."""
    fields = nvml.ask("nvmlDeviceGetFieldValues", handle, [nvml.module.NVML_FI_DEV_C2C_LINK_COUNT])
    if not fields or fields[0].nvmlReturn != nvml.module.NVML_SUCCESS:
        return None
    return int(fields[0].value.uiVal)


def _nvlinks(nvml: Nvml, handle: Any) -> list[int] | None:
    """Return for each link whether it is up."""
    states = [nvml.ask("nvmlDeviceGetNvLinkState", handle, link) for link in range(nvml.module.NVML_NVLINK_MAX_LINKS)]
    return [state for state in states if state is not None] or None


def _nvlink_errors(nvml: Nvml, handle: Any) -> int | None:
    module = nvml.module
    kinds = (
        module.NVML_NVLINK_ERROR_DL_REPLAY,
        module.NVML_NVLINK_ERROR_DL_RECOVERY,
        module.NVML_NVLINK_ERROR_DL_CRC_FLIT,
    )
    return _total(
        nvml.ask("nvmlDeviceGetNvLinkErrorCounter", handle, link, kind)
        for link in range(module.NVML_NVLINK_MAX_LINKS)
        for kind in kinds
    )


def _total(counts: Iterable[int | None]) -> int | None:
    """Add up what is reported; None if nothing is."""
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
