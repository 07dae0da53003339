"""Findings about a GPU's health, with a fake NVML."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest

from kernels_bench.devices.nvml import Nvml, XidWatch, near_cpus, read_health, reader, topology
from kernels_bench.devices.specifications import specification_of
from kernels_bench.judge.gpu_health import cpu_findings, findings, newcomers
from kernels_bench.results import FAIL, INVALID, PASS, WARN, Device, Health, Verdict
from kernels_bench.timing.cpu_affinity import on_cpus
from kernels_bench.timing.gpu_sampler import sampled
from tests.support.devices.fake_bench import L40S, NVMLError, by_uuid, small_nvml
from tests.support.values import has_values, values

OTHER = Device("cuda:1", "NVIDIA L40S", "GPU-2", 48 << 30, 96 << 20, 142, "8.9")
GIB = 1 << 30


def test_a_card_that_answers() -> None:
    nvml = Nvml(
        small_nvml(
            nvmlDeviceGetHandleByUUID=by_uuid,
            nvmlDeviceGetMemoryInfo=SimpleNamespace(total=48 * GIB, used=GIB),
            nvmlDeviceGetUtilizationRates=SimpleNamespace(gpu=3),
            nvmlDeviceGetRemappedRows=(1, 2, 0, 1),
            nvmlDeviceGetComputeRunningProcesses=[SimpleNamespace(pid=os.getpid()), SimpleNamespace(pid=7)],
            nvmlDeviceGetMigMode=(0, 0),
            nvmlDeviceGetEccMode=(1, 1),
            nvmlSystemGetDriverVersion="580.95",
            nvmlDeviceGetNvLinkState=lambda handle, link: link < 2,
        ),
        (L40S,),
    )
    health = read_health(nvml, L40S)
    assert (health.driver, health.used_bytes, health.busy_percent, health.nvlinks_up) == ("580.95", GIB, 3, 2)
    assert (health.processes, health.sees_this_process) == ((7,), True)
    assert (health.mig, health.ecc) == (False, True)
    assert (health.rows_remapped_uncorrected, health.row_remap_pending, health.row_remap_failed) == (2, False, True)


def test_a_card_that_says_nothing_is_not_called_healthy_or_ill() -> None:
    silent = Nvml(small_nvml(nvmlDeviceGetHandleByUUID=by_uuid), (L40S,))
    assert read_health(silent, L40S) == Health(uuid="GPU-1")
    assert read_health(None, L40S) == Health()
    assert reader(None, L40S) is None


def test_a_slice_is_found_by_its_own_kind_of_name() -> None:
    def only_slices(uuid: str) -> str:
        if not uuid.startswith("MIG-"):
            raise NVMLError
        return by_uuid(uuid)

    part = Device("cuda:0", "NVIDIA A100-SXM4-40GB MIG 1g.5gb", "GPU-1", 5 * GIB, 1 << 20, 14, "8.0")
    nvml = Nvml(small_nvml(nvmlDeviceGetHandleByUUID=only_slices), (part,))
    assert nvml.handles == {"cuda:0": "handle of MIG-1"}
    assert read_health(nvml, part).mig


def test_readings_under_load_ask_older_drivers_by_the_older_name() -> None:
    nvml = Nvml(
        small_nvml(
            nvmlDeviceGetHandleByUUID=by_uuid,
            nvmlDeviceGetCurrentClocksThrottleReasons=64,
            nvmlDeviceGetTemperature=91,
            nvmlDeviceGetCurrPcieLinkWidth=8,
        ),
        (L40S,),
    )
    read = reader(nvml, L40S)
    assert read is not None
    reading = read()
    assert (reading.slowed_by, reading.temperature_c, reading.pcie_width, reading.power_mw) == (64, 91, 8, None)


def test_the_watch_looks_while_the_work_goes_on_and_stops_with_it() -> None:
    looked: list[int] = []

    def read() -> Any:
        looked.append(len(looked))
        return len(looked)

    with sampled(read, every_s=0.001) as watch:
        while not looked:
            pass
    assert watch == [number + 1 for number in looked]
    with sampled(None) as blind:
        pass
    assert blind == []


@pytest.mark.parametrize(
    ("level", "words"), [(10, "same switch"), (30, "one host bridge"), (40, "same NUMA node"), (50, "crossing NUMA")]
)
def test_the_way_between_two_cards_has_a_name(level: int, words: str) -> None:
    nvml = Nvml(
        small_nvml(
            nvmlDeviceGetHandleByUUID=by_uuid,
            nvmlDeviceGetTopologyCommonAncestor=level,
            nvmlDeviceGetP2PStatus=5,
        ),
        (L40S, OTHER),
    )
    assert topology(nvml, L40S, OTHER) == words
    assert topology(None, L40S, OTHER) == "unknown"


def test_nvlink_is_named_before_the_bus() -> None:
    nvml = Nvml(small_nvml(nvmlDeviceGetHandleByUUID=by_uuid, nvmlDeviceGetP2PStatus=0), (L40S, OTHER))
    assert topology(nvml, L40S, OTHER) == "NVLink"


def test_xids_are_heard_while_they_come() -> None:
    waiting, devices = [79, 48, 13], ["handle of GPU-2", "handle of GPU-2", "handle of a slice"]

    def wait(events: object, timeout_ms: int) -> SimpleNamespace:
        if not waiting:
            raise NVMLError
        return SimpleNamespace(eventData=waiting.pop(0), device=devices.pop(0))

    freed: list[object] = []
    nvml = Nvml(
        small_nvml(
            nvmlDeviceGetHandleByUUID=by_uuid,
            nvmlEventSetCreate="events",
            nvmlDeviceRegisterEvents=None,
            nvmlEventSetWait_v2=wait,
            nvmlEventSetFree=freed.append,
            nvmlDeviceGetUUID=lambda handle: handle.removeprefix("handle of "),
        ),
        (L40S, OTHER),
    )
    assert XidWatch(nvml).close() == {"cuda:1": [79, 48, 13], "cuda:0": [13]}
    assert freed == ["events"]
    assert XidWatch(None).close() == {}


def test_the_processors_cores_that_are_near_a_card() -> None:
    masks = (1 << 0 | 1 << 63, 1 << 2)
    nvml = Nvml(small_nvml(nvmlDeviceGetHandleByUUID=by_uuid, nvmlDeviceGetCpuAffinity=masks), (L40S,))
    assert near_cpus(nvml, L40S) == (0, 63, 66)
    assert near_cpus(Nvml(small_nvml(nvmlDeviceGetHandleByUUID=by_uuid), (L40S,)), L40S) == ()
    assert near_cpus(None, L40S) == ()


def test_a_thread_goes_to_the_near_cores_and_comes_back() -> None:
    mine = os.sched_getaffinity(0)
    one = min(mine)
    with on_cpus((one, 1 << 20)):
        assert os.sched_getaffinity(0) == {one}
    for nothing in ((), (1 << 20,)):  # unknown, or all of them kept from this process
        with on_cpus(nothing):
            assert os.sched_getaffinity(0) == mine
    assert os.sched_getaffinity(0) == mine


def test_somebody_unseen_on_the_card_spoils_it_when_busy() -> None:
    row = specification_of("NVIDIA L40S")
    taken = Health(memory_bytes=48 * GIB, used_bytes=40 * GIB, processes=(), busy_percent=97)
    assert findings(taken, Health(), row)[0].verdict == INVALID
    assert has_values(findings(taken, Health(), row)[0].text, "40.0", "97")
    idle = Health(memory_bytes=48 * GIB, used_bytes=40 * GIB, processes=(), busy_percent=0)
    assert findings(idle, Health(), row)[0].verdict == WARN


def test_links_that_are_down_are_counted() -> None:
    found = findings(Health(nvlinks=18, nvlinks_up=17), Health(), specification_of("NVIDIA H200"))
    assert [(finding.verdict, values(finding.text)) for finding in found] == [(WARN, ["17", "18"])]
    for unused in (Health(nvlinks=18, nvlinks_up=18), Health(nvlinks=4, nvlinks_up=0), Health()):
        assert findings(unused, Health(), specification_of("NVIDIA H200"))[0].verdict == PASS


@pytest.mark.parametrize(
    ("after", "expected", "words"),
    [
        ({"ecc_uncorrected": 1}, FAIL, "could not be corrected"),
        ({"ecc_corrected": 4}, WARN, "4 ECC errors were corrected"),
        ({"row_remap_failed": True}, FAIL, "replace it"),
        ({"row_remap_pending": True}, FAIL, "reset it"),
        ({"page_retirement_pending": True}, FAIL, "retired"),
        ({"pages_retired": 2}, WARN, "2 memory pages"),
        ({"ecc": False}, WARN, "ECC is off"),
        ({"pcie_replays": 12}, WARN, "2 PCIe replays during the run"),
        ({"nvlink_errors": 3}, WARN, "3 NVLink errors during the run"),
    ],
)
def test_each_fault_has_its_sentence(after: dict[str, Any], expected: Verdict, words: str) -> None:
    before = Health(pcie_replays=10, nvlink_errors=0)
    found = findings(before, Health(**after), specification_of("NVIDIA L40S"))
    assert [(finding.verdict, words in finding.text) for finding in found] == [(expected, True)]


@pytest.mark.parametrize(
    ("before", "expected", "words"),
    [
        ({"mig": True}, INVALID, "slice"),
        ({"processes": (7,)}, INVALID, "7"),
        ({"used_bytes": 20 * GIB, "memory_bytes": 48 * GIB}, WARN, "20.0 GiB"),
        ({"pcie_generation_max": 3, "pcie_generation_card": 4}, WARN, "slot is PCIe generation 3"),
        ({"pcie_width_max": 8}, WARN, "8 PCIe lanes, the GPU could use 16"),
        ({"power_limit_mw": 300_000, "power_default_mw": 350_000}, WARN, "300 W"),
        ({"persistence": False}, WARN, "persistence"),
    ],
)
def test_each_circumstance_has_its_sentence(before: dict[str, Any], expected: Verdict, words: str) -> None:
    found = findings(Health(**before), Health(), specification_of("NVIDIA L40S"))
    assert [(finding.verdict, words in finding.text) for finding in found] == [(expected, True)]


def test_a_healthy_known_card_a_strange_one_and_an_xid() -> None:
    assert [f.verdict for f in findings(Health(), Health(), specification_of("NVIDIA L40S"))] == [PASS]
    assert "no row in specifications.toml" in findings(Health(), Health(), None)[-1].text
    assert "Xid 79" in findings(Health(), Health(), specification_of("NVIDIA L40S"), [79])[0].text


def test_who_came_during_the_run() -> None:
    before = Health(processes=(7,))
    assert newcomers(before, Health(processes=(7, 8), sees_this_process=True)) == (8,)
    assert newcomers(before, Health(processes=(7, 8), sees_this_process=False)) == ()  # that is this process
    assert newcomers(before, Health(processes=(7, 8, 9), sees_this_process=False)) == (8, 9)


def test_a_processor_with_company() -> None:
    busy, quiet, unknown = (cpu_findings(share, 0.05)[0] for share in (0.48, 0.02, None))
    assert (busy.verdict, busy.text) == (WARN, "other programs used 48% of the cores during the run")
    assert quiet.verdict == PASS
    assert unknown.text == "not known whether other programs used the machine: the kernel does not count it"
