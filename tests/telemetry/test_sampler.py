"""The sampler's rows of GPUs and host, and that its failures affect nothing else."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine_probe.errors import InputError
from engine_probe.record.recorder import Recorder
from engine_probe.record.run_folder import RunFolder
from engine_probe.record.schema import SCHEMAS
from engine_probe.record.writer import Writer
from engine_probe.recordings.run import load
from engine_probe.telemetry import sampler as room
from engine_probe.telemetry.host import HostReader
from engine_probe.telemetry.sampler import Sampler
from tests.support.devices.fake_nvml import ANSWERS, FakeCard, FakeNvml

SECOND = 1_000_000_000
# What the engine says of itself, as little of it as `run.json` must hold.
ENGINE: dict[str, Any] = {
    "versions": {"vllm": None, "distribution": None},
    "engine": {"arguments": {}, "executor": "none", "scheduler": "none", "asynchronous": False},
    "model": {"name": "tiny", "architecture": None, "dtype": "bfloat16", "max_model_len": 512}
    | {"num_layers": 2, "num_kv_heads": 2, "head_size": 32},
    "kv": {
        "blocks": 9,
        "block_size_tokens": 32,
        "bytes": 9,
        "bytes_per_block": 1,
        "groups": 1,
        "prefix_caching": False,
    },
    "limits": {"max_num_seqs": 256, "max_num_batched_tokens": 4096, "policy": "fcfs"},
}
WORKERS: dict[str, Any] = {"recorded": False, "reason": "made by hand", "ranks": []}
START = 100 * SECOND


class Clock:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.now_ns = START

    def __call__(self) -> int:
        return self.now_ns


class Watched:
    """A sampler on fake GPUs, which the test samples at chosen times."""

    def __init__(self, *cards: FakeCard, ranks: tuple[str, ...] = ()) -> None:
        self.nvml, self.clock, self.recorder = FakeNvml(*cards), Clock(), Recorder()
        self.sampler = Sampler(self.recorder, load_nvml=lambda: (self.nvml, None), clock=self.clock)
        self.sampler._ranks = ranks
        self.sampler.open()

    def sample(self, after_seconds: float = 0.05) -> list[dict[str, Any]]:
        """The new rows, as a reader sees them."""
        self.clock.now_ns += round(after_seconds * SECOND)
        self.sampler.sample()
        rows = [dict(zip(SCHEMAS["telemetry"].names, row, strict=True)) for row in self.recorder.telemetry]
        self.recorder.telemetry.clear()
        return rows

    @property
    def notes(self) -> list[str]:
        return self.sampler.stop()["notes"]


@pytest.fixture(autouse=True)
def all_cards_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_a_card_says_everything_there_is_a_column_for() -> None:
    card = FakeCard()
    card.processes, card.power_now_mw = [(os.getpid(), 90 << 30), (1, 5 << 30)], 410_000
    watched = Watched(card)
    watched.sample(after_seconds=0)
    card.work(0.75, SM_UTIL=80, ANY_TENSOR_UTIL=40, DRAM_BW_UTIL=60, NVLINK_TOTAL_TX_PER_SEC=1_000)
    card.work(0.25, NVLINK_TOTAL_RX_PER_SEC=2_000, C2C_TOTAL_TX_PER_SEC=8, C2C_TOTAL_RX_PER_SEC=4)
    card.pcie_bytes = [1_000 + 3_000_000, 2_000 + 500_000]
    host, row = watched.sample(after_seconds=1)
    assert host["device"] is None
    assert row == {
        "time_ns": START + SECOND,
        "device": 0,
        "power_mw": 410_000,
        "energy_mj": 7_000_000,
        "temperature_c": 61,
        "sm_clock_mhz": 1_980,
        "memory_clock_mhz": 3_201,
        "gpu_utilisation_percent": 93,
        "memory_utilisation_percent": 41,
        "memory_used_bytes": 120 << 30,
        "process_memory_bytes": 90 << 30,
        "throttle_reasons": 4,
        "performance_state": 0,
        "pcie_tx_bytes_per_s": 3_000_000,
        "pcie_rx_bytes_per_s": 500_000,
        "sm_activity_percent": 60.0,
        "tensor_activity_percent": 30.0,
        "dram_bandwidth_percent": 45.0,
        "nvlink_tx_bytes_per_s": 750 << 20,
        "nvlink_rx_bytes_per_s": 500 << 20,
        "c2c_tx_bytes_per_s": 2 << 20,
        "c2c_rx_bytes_per_s": 1 << 20,
        "ecc_errors": 2,
        "ecc_corrected_errors": 11,
        "cpu_percent": None,
        "machine_cpu_percent": None,
    }
    assert watched.notes == []


def test_the_fake_has_no_name_that_the_real_module_has_not() -> None:
    import pynvml

    constants = [name for name in vars(FakeNvml) if name.startswith("NVML")]
    assert len(constants) > 10
    assert [name for name in (*constants, *ANSWERS) if not hasattr(pynvml, name)] == []
    numbers = [name for name in constants if name.startswith("NVML_")]
    assert [name for name in numbers if getattr(pynvml, name) != getattr(FakeNvml, name)] == []


def test_what_costs_much_is_asked_once_a_second() -> None:
    watched = Watched(FakeCard())
    rows = [watched.sample()[1] for _ in range(40)]
    assert [row["ecc_errors"] is not None for row in rows] == [True, *[False] * 19] * 2
    assert all(row["power_mw"] == 350_000 for row in rows)
    assert watched.nvml.asked["nvmlDeviceGetComputeRunningProcesses"] == 2


def test_what_a_card_will_never_say_is_asked_once_null_and_named_once() -> None:
    card = FakeCard()
    card.refuses = {
        "nvmlDeviceGetTotalEnergyConsumption": FakeNvml.NVMLError_NotSupported,
        "nvmlDeviceGetUtilizationRates": FakeNvml.NVMLError_NotSupported,
        "nvmlDeviceGetPowerUsage": FakeNvml.NVMLError_NoPermission,
    }
    card.processes = [(os.getpid(), 1)]
    watched = Watched(card)
    rows = [watched.sample()[1] for _ in range(30)]
    assert {(row["energy_mj"], row["gpu_utilisation_percent"], row["power_mw"]) for row in rows} == {(None, None, None)}
    assert rows[-1]["temperature_c"] == 61
    assert {watched.nvml.asked[function] for function in card.refuses} == {1}
    assert watched.notes == [
        "device 0: power_mw: Insufficient Permissions",
        "device 0: energy_mj, gpu_utilisation_percent, memory_utilisation_percent: Not Supported",
    ]


def test_a_card_that_uses_the_hosts_memory_has_no_memory_reading_and_it_is_said() -> None:
    """As GB10: what is not told is null, and never the whole host's."""
    card = FakeCard(name="NVIDIA GB10")
    card.refuses["nvmlDeviceGetMemoryInfo"] = FakeNvml.NVMLError_NotSupported
    watched = Watched(card)
    rows = [watched.sample()[1] for _ in range(3)]
    assert {row["memory_used_bytes"] for row in rows} == {None}
    assert rows[-1]["power_mw"] == 350_000
    assert watched.notes == [
        "device 0: memory_used_bytes: Not Supported",
        "device 0: process_memory_bytes: NVML lists none of our processes (they hold no memory there, or NVML's "
        "process ids are those of another namespace)",
        "device 0 has no memory of its own: it uses the host's, which the host's rows tell",
    ]


def test_a_cpu_in_the_same_package_is_told_from_pcie() -> None:
    """As in Grace-Hopper, whose traffic between host and GPU does not go over PCIe."""
    card = FakeCard()
    card.c2c = 10
    watched = Watched(card)
    assert watched.sampler.stop()["devices"][0]["c2c_links"] == 10
    (note,) = watched.notes
    assert note.startswith("device 0 is linked to its CPU by NVLink-C2C (10 links): the PCIe columns do not count")


def test_a_passing_failure_leaves_one_hole() -> None:
    card = FakeCard()
    watched = Watched(card)
    watched.sample()
    card.refuses["nvmlDeviceGetPowerUsage"] = FakeNvml.NVMLError_Timeout
    assert watched.sample()[1]["power_mw"] is None
    card.refuses.clear()
    assert watched.sample()[1]["power_mw"] == 350_000
    assert "device 0: power_mw: Timeout" in watched.notes


def test_an_older_driver_knows_the_reasons_by_their_older_name() -> None:
    card = FakeCard()
    card.refuses["nvmlDeviceGetCurrentClocksEventReasons"] = FakeNvml.NVMLError_FunctionNotFound
    assert Watched(card).sample()[1]["throttle_reasons"] == 4


def test_a_lost_card_has_no_more_rows_and_the_others_go_on() -> None:
    lost, well = FakeCard(), FakeCard("GPU-1", index=1)
    watched = Watched(lost, well)
    assert [row["device"] for row in watched.sample()] == [None, 0, 1]
    lost.refuses["everything"] = FakeNvml.NVMLError_GpuIsLost
    assert [row["device"] for row in watched.sample()] == [None, 1]
    asked = dict(watched.nvml.asked)
    lost.refuses.clear()
    assert [row["device"] for row in watched.sample()] == [None, 1]
    assert watched.nvml.asked["nvmlDeviceGetPowerUsage"] == asked["nvmlDeviceGetPowerUsage"] + 1
    assert "device 0: all columns: GPU is lost: its rows end there" in watched.notes


def test_a_mig_instance_has_its_own_memory_and_the_cards_sensors(monkeypatch: pytest.MonkeyPatch) -> None:
    card, instance = FakeCard(index=3), FakeCard("MIG-abc")
    instance.parent, instance.used_bytes, card.mig = card, 9 << 30, 1
    instance.refuses = {"nvmlDeviceGetPowerUsage": FakeNvml.NVMLError_InvalidArgument}
    card.refuses = {"nvmlDeviceGetUtilizationRates": FakeNvml.NVMLError_NotSupported}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-abc")
    watched = Watched(card, instance)
    row = watched.sample()[1]
    assert (row["device"], row["memory_used_bytes"], row["power_mw"]) == (3, 9 << 30, 350_000)
    assert row["gpu_utilisation_percent"] is None
    assert "device 3: memory is that of MIG-abc, everything else of the whole GPU" in watched.notes
    assert watched.sampler.stop()["devices"] == [
        {"device": 3, "name": "NVIDIA H200", "uuid": "MIG-abc", "mig_instance": True, "mig_split": True}
        | {"power_window": "average of the last second", "c2c_links": 0}
    ]


def split_card(*instances: str) -> list[FakeCard]:
    card, parts = FakeCard(index=3), [FakeCard(uuid) for uuid in instances]
    card.mig = 1
    for part in parts:
        part.parent, part.used_bytes = card, 9 << 30
    return [card, *parts]


@pytest.mark.parametrize("visible", [None, "0"])
def test_the_one_instance_that_a_container_was_given_is_found_without_its_name(
    monkeypatch: pytest.MonkeyPatch, visible: str | None
) -> None:
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    watched = Watched(*split_card("MIG-abc"))
    row = watched.sample()[1]
    assert (row["device"], row["memory_used_bytes"]) == (3, 9 << 30)
    (device,) = watched.sampler.stop()["devices"]
    assert (device["uuid"], device["mig_instance"], device["mig_split"]) == ("MIG-abc", True, True)


def test_of_two_instances_that_nobody_named_none_is_taken_for_the_engines() -> None:
    watched = Watched(*split_card("MIG-abc", "MIG-def"))
    assert watched.sample()[1]["memory_used_bytes"] == 120 << 30
    (device,) = watched.sampler.stop()["devices"]
    assert (device["uuid"], device["mig_instance"], device["mig_split"]) == ("GPU-0", False, True)


def test_torch_says_gpu_of_an_instance_and_the_rank_is_found_all_the_same() -> None:
    watched = Watched(*split_card("MIG-abc", "MIG-def"), ranks=("GPU-def",))
    watched.sample()
    (device,) = watched.sampler.stop()["devices"]
    assert device["uuid"] == "MIG-def"
    assert any("GPU-0 is not sampled beside MIG-def of the same GPU" in note for note in watched.notes)


def test_two_named_instances_of_a_card_have_one_row_and_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-abc,MIG-def")
    watched = Watched(*split_card("MIG-abc", "MIG-def"))
    assert [row["device"] for row in watched.sample()] == [None, 3]
    assert "device 3: MIG-def is not sampled beside MIG-abc of the same GPU" in watched.notes


def test_the_ranks_cards_are_sampled_whatever_this_process_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    """With Ray the engine core's own process may see no card at all, and CUDA's numbers are not NVML's."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    cards = [FakeCard(f"GPU-{index}", index=index) for index in range(4)]
    watched = Watched(*cards, ranks=("GPU-2", "GPU-1"))
    assert [row["device"] for row in watched.sample()] == [None, 2, 1]


def test_only_the_ranks_cards_are_looked_at_twenty_times_a_second() -> None:
    """In a container NVML lists none of our processes, and the ranks' UUIDs say which GPU is ours."""
    cards = [FakeCard(f"GPU-{index}", index=index) for index in range(3)]
    cards[0].processes = [(os.getpid(), 5)]  # a context of this process, and not of a rank
    watched = Watched(*cards, ranks=("GPU-1",))
    rows = [watched.sample() for _ in range(20)]
    assert [row["device"] for row in rows[0]] == [None, 0, 1, 2]
    assert {tuple(row["device"] for row in sample) for sample in rows[1:]} == {(None, 1)}


def test_a_rank_on_another_machine_is_said_to_be_not_sampled() -> None:
    watched = Watched(FakeCard(), ranks=("GPU-0", "GPU-far"))
    assert [row["device"] for row in watched.sample()] == [None, 0]
    assert "GPU-far, on which a rank runs, is not sampled: NVML does not know it here (Not Found)" in watched.notes


def test_a_card_split_by_mig_whose_instance_nobody_named_is_said() -> None:
    card = FakeCard()
    card.mig = 1
    (note,) = [note for note in Watched(card).notes if "MIG" in note]
    assert note.startswith("device 0 is split by MIG: memory is the whole GPU's")


@pytest.mark.parametrize(
    ("visible", "devices"),
    [
        ("1", [1]),
        ("1,0", [1, 0]),
        ("GPU-1,0", [1, 0]),
        ("GPU-o", [2]),
        ("GPU", []),
        (" 1 , 0", [1, 0]),
        ("GPU-", []),
        ("", []),
        ("-1", []),
        ("1,7,0", [1]),
        ("GPU-other,0", [2, 0]),
        ("GPU-9", []),
        ("no", []),
    ],
)
def test_only_the_cards_cuda_shows_are_sampled(
    monkeypatch: pytest.MonkeyPatch, visible: str, devices: list[int]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    watched = Watched(FakeCard(), FakeCard("GPU-1", index=1), FakeCard("GPU-other", index=2))
    assert [row["device"] for row in watched.sample()] == [None, *devices]
    if not devices:
        assert watched.notes[-1] == "no NVIDIA device (none is visible): rows of the host only"


def test_numbers_among_different_cards_may_not_be_cudas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    cards = FakeCard(), FakeCard("GPU-1", name="NVIDIA L40S", index=1)
    assert any("NVML's numbers may not be CUDA's" in note for note in Watched(*cards).notes)
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    assert Watched(*cards).notes == []


def test_memory_of_processes_that_nvml_does_not_name_is_null_and_said_once() -> None:
    card = FakeCard()
    card.processes = [(1, 5)]
    watched = Watched(card)
    assert watched.sample()[1]["process_memory_bytes"] is None
    assert [note for note in watched.notes if "lists none of our processes" in note]
    card.processes = [(os.getpid(), None)]  # NVML names it and does not say how much
    assert watched.sample(1)[1]["process_memory_bytes"] is None


def test_a_neighbours_card_is_looked_at_once_a_second() -> None:
    """If NVML lists our process on one of eight GPUs, the others are sampled a twentieth as often."""
    cards = [FakeCard(f"GPU-{index}", index=index) for index in range(3)]
    cards[1].processes = [(os.getpid(), 5)]
    watched = Watched(*cards)
    rows = [watched.sample() for _ in range(21)]
    assert [row["device"] for row in rows[0]] == [None, 0, 1, 2]
    assert {tuple(row["device"] for row in sample) for sample in rows[1:20]} == {(None, 1)}
    assert [row["device"] for row in rows[20]] == [None, 0, 1, 2]
    assert watched.notes == [f"device {other} holds none of our processes: sampled once a second" for other in (0, 2)]


def test_without_byte_counters_pcie_is_looked_at_once_a_second() -> None:
    card = FakeCard()
    card.pcie_bytes = None
    watched = Watched(card)
    rows = [watched.sample()[1] for _ in range(21)]
    assert [row["pcie_tx_bytes_per_s"] for row in rows] == [50_000, *[None] * 19, 50_000]
    assert watched.nvml.asked["nvmlDeviceGetFieldValues"] == 1 + 2  # once for power and for C2C
    assert any("PCIe traffic is that of 20 ms, once a second" in note for note in watched.notes)
    card.refuses["nvmlDeviceGetPcieThroughput"] = FakeNvml.NVMLError_NotSupported
    watched.sample(1)
    watched.sample(1)
    assert watched.nvml.asked["nvmlDeviceGetPcieThroughput"] == 2 * 2 + 1


def test_a_counter_that_went_back_is_no_rate() -> None:
    card = FakeCard()
    watched = Watched(card)
    watched.sample()
    card.pcie_bytes = [0, 3_000]
    row = watched.sample(1)[1]
    assert (row["pcie_tx_bytes_per_s"], row["pcie_rx_bytes_per_s"]) == (None, 1_000)


def test_without_a_gpu_there_are_rows_of_the_host_and_it_says_so() -> None:
    recorder = Recorder()
    sampler = Sampler(recorder, 0.001, load_nvml=lambda: (None, "Driver Not Loaded"))
    sampler.start()
    while sampler.samples < 3:
        time.sleep(0.001)
    told = sampler.stop()
    assert {row[1] for row in recorder.telemetry} == {None}
    assert len(recorder.telemetry) == told["samples"]
    assert told["notes"] == ["no NVIDIA device (Driver Not Loaded): rows of the host only"]
    assert told["cpu_ns"] > 0


@pytest.fixture
def proc(tmp_path: Path) -> Iterator[Path]:
    """A machine that stood still."""
    (tmp_path / "self").mkdir()
    (tmp_path / "self/statm").write_text("9000 250 80 1 0 300 0\n")
    (tmp_path / "stat").write_text("cpu  100 0 50 900 50 0 0 0 0 0\ncpu0 1 2 3 4\n")
    (tmp_path / "meminfo").write_text("MemTotal:  1000 kB\nMemFree:  100 kB\nMemAvailable:  400 kB\n")
    return tmp_path


def test_the_host_in_mental_arithmetic(proc: Path) -> None:
    spent = iter([0, 100_000_000])
    host = HostReader(proc, cpu_clock=lambda: next(spent), powercap=proc)
    page, ticks = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")
    assert host.read(START, slow=True) == {
        "cpu_percent": None,
        "process_memory_bytes": 250 * page,
        "machine_cpu_percent": None,
        "memory_used_bytes": 600 * 1024,
        "energy_mj": None,
    }
    (proc / "stat").write_text(f"cpu  {100 + 3 * ticks} 0 50 1900 50 0 0 0 0 0\n")
    later = host.read(START + 2 * SECOND, slow=True)
    assert later["cpu_percent"] == 5.0  # 0.1 s of CPU in 2 s
    assert later["machine_cpu_percent"] == 150.0  # 3 s of CPU in 2 s
    host.close()


def test_what_the_kernel_does_not_show_is_null_and_said(proc: Path) -> None:
    (proc / "stat").unlink()
    host = HostReader(proc, powercap=proc)
    assert host.read(START, slow=True)["machine_cpu_percent"] is None
    assert host.notes == [f"host: {proc}/stat cannot be read (No such file or directory)"]
    host.close()


def test_a_failing_sampler_ends_its_rows_and_keeps_why(caplog: pytest.LogCaptureFixture) -> None:
    def load() -> Any:
        raise ZeroDivisionError("of the driver")

    sampler = Sampler(Recorder(), load_nvml=load)
    with caplog.at_level(logging.WARNING):
        sampler.start()
        sampler.stop()
    assert "ZeroDivisionError: of the driver" in sampler.stop()["failure"]
    assert "everything else goes on" in caplog.text


def test_a_failure_in_the_middle_and_one_while_closing_are_contained() -> None:
    watched = FakeNvml(FakeCard())
    watched.cards[0].refuses["nvmlDeviceGetPowerUsage"] = MemoryError
    sampler = Sampler(Recorder(), 0.001, load_nvml=lambda: (watched, None))
    sampler.start()
    assert sampler._thread is not None
    sampler._thread.join(10)
    assert "MemoryError" in sampler.stop()["failure"]
    assert watched.shut_down == 1


def test_rows_that_nobody_takes_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MAX_WAITING_ROWS", 5)
    recorder = Recorder()
    sampler = Sampler(recorder, 0.001, load_nvml=lambda: (None, "none"))
    sampler.start()
    assert sampler._thread is not None
    sampler._thread.join(10)
    assert len(recorder.telemetry) == 5
    assert "nobody writes them" in sampler.stop()["failure"]


def test_a_machine_without_threads_goes_without_telemetry(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", refuse)
    sampler = Sampler(Recorder())
    sampler.start()
    assert "can't start new thread" in sampler.stop()["failure"]


def test_whoever_reads_the_run_is_told_that_telemetry_ended(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", ENGINE)
    Writer(Recorder(), folder.path, lambda error: None).close(keep_streams=True)
    sampler = Sampler(Recorder(), load_nvml=lambda: 1 / 0)
    sampler.start()
    folder.finish("why", workers=WORKERS, tables={}, close={}, telemetry=sampler.stop())
    assert load(folder.path).notes[1:] == ["telemetry ends early (ZeroDivisionError: division by zero)"]


def test_off_means_no_thread_and_no_row() -> None:
    recorder = Recorder()
    sampler = Sampler(recorder, False)
    sampler.start()
    assert sampler._thread is None
    assert sampler.stop()["period_seconds"] is None
    assert not recorder.telemetry


@pytest.mark.parametrize("period", [0, -1, float("nan"), float("inf"), 1e-6, "often", None])
def test_a_period_that_cannot_be_is_refused(period: Any) -> None:
    with pytest.raises(InputError, match="give True, False or the seconds between two samples"):
        Sampler(Recorder(), period)


def test_late_samples_are_counted_and_not_caught_up() -> None:
    """Every look takes 120 ms of a period of 50: of three moments, one is sampled."""
    clock, recorder = Clock(), Recorder()
    sampler = Sampler(recorder, 0.05, load_nvml=lambda: (None, "none"), clock=clock)
    sampler.open()
    waits: list[float] = []

    def slow_sample() -> None:
        clock.now_ns += 120_000_000
        sampler.samples += 1

    def wait(seconds: float) -> bool:
        waits.append(round(seconds, 6))
        clock.now_ns += round(seconds * SECOND)
        return sampler.samples == 3

    sampler.sample = slow_sample
    sampler.stopping.wait = wait
    sampler._sample_until_stopped()
    sampler.close()
    assert waits == [0.03, 0.03, 0.03]
    assert sampler.missed == 6


def test_rows_reach_the_disk_as_the_schema_has_them(tmp_path: Path) -> None:
    from engine_probe.record.reader import read_stream

    watched = Watched(FakeCard())
    failures: list[BaseException] = []
    writer = Writer(watched.recorder, tmp_path, failures.append)
    for _ in range(3):
        watched.clock.now_ns += 50_000_000
        watched.sampler.sample()
    tables = writer.close(keep_streams=True)
    assert (tables, failures) == ({}, [])
    table = read_stream(tmp_path / "telemetry.arrows", "telemetry")
    assert table["device"].to_pylist() == [None, 0] * 3
    assert table["power_mw"].to_pylist()[1] == 350_000


def test_a_note_is_told_when_it_comes_up_and_not_again() -> None:
    """So that a run that is killed has it; nobody waits for the end."""
    told: list[dict[str, Any]] = []
    heard = threading.Event()

    def tell(said: dict[str, Any]) -> None:
        told.append(said)
        heard.set()

    sampler = Sampler(Recorder(), 0.001, load_nvml=lambda: (None, "Driver Not Loaded"))
    sampler.start(tell)
    assert heard.wait(10)
    sampler.stop()
    assert [note for note in told[0]["notes"] if "Driver Not Loaded" in note]
    assert len(told) == 1


def test_a_failure_is_told_before_the_end() -> None:
    told: list[dict[str, Any]] = []
    sampler = Sampler(Recorder(), 0.001, load_nvml=lambda: 1 / 0)
    sampler.start(told.append)
    sampler.stop()
    assert "ZeroDivisionError" in told[-1]["failure"]


def test_a_disk_that_takes_no_note_does_not_end_the_sampling() -> None:
    recorder = Recorder()

    def full(said: dict[str, Any]) -> None:
        raise OSError(28, "No space left on device")

    sampler = Sampler(recorder, 0.001, load_nvml=lambda: (None, "none"))
    sampler.start(full)
    while sampler.samples < 3:
        time.sleep(0.001)
    assert sampler.stop()["failure"] is None


def test_a_cut_run_has_the_notes_of_its_telemetry(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", ENGINE)
    folder.note_telemetry({**Sampler(Recorder(), False).stop(), "notes": ["no NVIDIA device"]})
    assert load(tmp_path / "run").facts["telemetry"]["notes"] == ["no NVIDIA device"]
