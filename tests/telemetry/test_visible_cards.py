"""`run.json` names only the GPUs that CUDA_VISIBLE_DEVICES gives to the engine."""

from __future__ import annotations

import pytest

from engine_probe.telemetry import hardware
from tests.support.devices.fake_nvml import FakeCard, FakeNvml


@pytest.mark.parametrize(
    ("visible", "named"),
    [(None, ["GPU-0", "GPU-1", "GPU-2"]), ("2,0", ["GPU-2", "GPU-0"]), ("GPU-1", ["GPU-1"]), ("", [])],
)
def test_only_what_cuda_shows_is_named(monkeypatch: pytest.MonkeyPatch, visible: str | None, named: list[str]) -> None:
    monkeypatch.setattr(hardware, "pynvml", FakeNvml(*(FakeCard(f"GPU-{index}", index=index) for index in range(3))))
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = hardware.visible_gpus()
    assert [gpu["uuid"] for gpu in found] == named
    assert all(gpu["memory_bytes"] > 1 << 30 for gpu in found)


def test_a_card_without_memory_of_its_own_is_named_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    card = FakeCard("GPU-10", name="NVIDIA GB10")
    card.refuses["nvmlDeviceGetMemoryInfo"] = FakeNvml.NVMLError_NotSupported
    monkeypatch.setattr(hardware, "pynvml", FakeNvml(card))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert hardware.visible_gpus() == [{"name": "NVIDIA GB10", "uuid": "GPU-10", "memory_bytes": None}]
