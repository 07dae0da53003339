"""What GPM and the reading of power say, on a fake NVML whose truth is known; the structures are pynvml's own."""

import pytest

from engine_probe.record.schema import SCHEMAS
from engine_probe.telemetry.gpm import METRICS, Gpm
from engine_probe.telemetry.gpu_readings import power_reading
from engine_probe.telemetry.gpus import GpuReader
from tests.support.devices.fake_nvml import FakeCard, FakeNvml


def test_every_figure_has_a_column() -> None:
    assert METRICS.keys() <= set(SCHEMAS["telemetry"].names)


def test_a_figure_is_that_of_the_time_between_two_readings() -> None:
    """80 % for a second, then 20 % for three: 35 % on average, although nobody looked in between."""
    card = FakeCard()
    gpm = Gpm(FakeNvml(card), card)
    assert gpm.read() == {}
    card.work(1, SM_UTIL=80)
    card.work(3, SM_UTIL=20)
    assert gpm.read()["sm_activity_percent"] == 35
    card.work(2, SM_UTIL=90)
    assert gpm.read()["sm_activity_percent"] == 90


def test_a_card_without_gpm_is_asked_once_and_named() -> None:
    card = FakeCard()
    card.gpm = None
    nvml = FakeNvml(card)
    gpm = Gpm(nvml, card)
    assert [gpm.read() for _ in range(3)] == [{}] * 3
    assert nvml.asked == {"nvmlGpmQueryDeviceSupport": 1}
    assert gpm.missing == {"this GPU has no performance monitoring (GPM)": list(METRICS)}


def test_a_metric_that_the_card_refuses_is_null_and_named_and_the_others_go_on() -> None:
    """A Hopper without a Grace beside it has no C2C."""
    card = FakeCard()
    card.gpm_refuses = {100: 3, 101: 3}
    gpm = Gpm(FakeNvml(card), card)
    gpm.read()
    for _ in range(2):
        card.work(1, SM_UTIL=50)
        figures = gpm.read()
        assert figures["sm_activity_percent"] == 50
        assert figures.get("c2c_tx_bytes_per_s") is None
    assert gpm.missing == {"Not Supported": ["c2c_tx_bytes_per_s", "c2c_rx_bytes_per_s"]}


@pytest.mark.parametrize("function", ["nvmlGpmQueryDeviceSupport", "nvmlGpmSampleGet"])
def test_without_permission_nothing_is_tried_again(function: str) -> None:
    card = FakeCard()
    card.refuses = {function: FakeNvml.NVMLError_NoPermission}
    nvml = FakeNvml(card)
    gpm = Gpm(nvml, card)
    assert [gpm.read() for _ in range(3)] == [{}] * 3
    assert nvml.asked[function] == 1
    assert gpm.missing == {"Insufficient Permissions": list(METRICS)}


def test_after_a_passing_failure_no_figure_spans_it() -> None:
    card = FakeCard()
    gpm = Gpm(FakeNvml(card), card)
    gpm.read()
    card.refuses = {"nvmlGpmSampleGet": FakeNvml.NVMLError_Timeout}
    card.work(1, SM_UTIL=10)
    assert gpm.read() == {}
    card.refuses = {}
    card.work(1, SM_UTIL=20)
    assert gpm.read() == {}
    card.work(1, SM_UTIL=30)
    assert gpm.read()["sm_activity_percent"] == 30


def test_no_time_between_two_readings_is_no_figure() -> None:
    card = FakeCard()
    gpm = Gpm(FakeNvml(card), card)
    gpm.read()
    assert gpm.read()["sm_activity_percent"] is None


def test_an_instance_has_counts_of_its_own() -> None:
    card, instance, other = FakeCard(), FakeCard("MIG-a", index=4), FakeCard("MIG-b", index=5)
    card.mig, instance.parent, other.parent = 1, card, card
    gpu = GpuReader(FakeNvml(card, instance, other), card, instance=instance)
    gpu.read(0, True, frozenset())
    for part, busy in ((instance, 25), (other, 99)):
        part.work(1, SM_UTIL=busy)
    assert gpu.read(1, True, frozenset())["sm_activity_percent"] == 25


def test_the_samples_go_back_to_nvml() -> None:
    card = FakeCard()
    nvml = FakeNvml(card)
    gpu = GpuReader(nvml, card)
    gpu.read(0, True, frozenset())
    assert len(nvml.gpm_samples) == 2
    gpu.close()
    assert nvml.gpm_samples == {}
    assert gpu.read(1, True, frozenset()).get("sm_activity_percent") is None


@pytest.mark.parametrize(
    ("now_mw", "capability", "power_mw", "window"),
    [
        (410_000, (9, 0), 410_000, "instantaneous"),
        (None, (9, 0), 350_000, "average of the last second"),
        (None, (8, 6), 350_000, "average of the last second"),
        (None, (8, 0), 350_000, "instantaneous"),  # GA100
        (None, (7, 5), 350_000, "instantaneous"),
    ],
)
def test_power_is_that_of_the_moment_where_the_card_tells_it(
    now_mw: int | None, capability: tuple[int, int], power_mw: int, window: str
) -> None:
    card = FakeCard()
    card.power_now_mw, card.capability = now_mw, capability
    nvml = FakeNvml(card)
    reading, told = power_reading(nvml, card)
    assert (reading.read(nvml, card), told) == ((power_mw,), window)


def test_a_window_that_the_card_does_not_tell_is_not_known() -> None:
    card = FakeCard()
    card.refuses = {"nvmlDeviceGetCudaComputeCapability": FakeNvml.NVMLError_NotSupported}
    assert power_reading(FakeNvml(card), card)[1] == "not known"


def test_a_moment_without_power_is_one_hole() -> None:
    card = FakeCard()
    card.power_now_mw = 410_000
    gpu = GpuReader(FakeNvml(card), card)
    card.power_now_mw = None
    assert gpu.read(0, False, frozenset()).get("power_mw") is None
