"""Each rank of a CPU engine gets the same number of cores, unless the user has set the binding."""

from __future__ import annotations

import os

import pytest

from engine_probe.engine.cpu import cpu_binding
from engine_probe.errors import InputError


@pytest.mark.parametrize(
    ("given", "ranks", "shared"),
    [([0, 1], 2, "0|1"), ([0, 1, 2, 3], 2, "0,1|2,3"), ([4, 6, 7], 2, "4|6"), ([0, 1, 2], 3, "0|1|2")],
)
def test_cores_are_shared_out_evenly(given: list[int], ranks: int, shared: str) -> None:
    assert cpu_binding.shares(given, ranks) == shared


def test_more_ranks_than_cores_are_refused() -> None:
    with pytest.raises(InputError, match=r"3 ranks need a core each .* may use 2"):
        cpu_binding.shares([0, 1], 3)


def test_only_several_ranks_of_a_cpu_build_are_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(cpu_binding.BINDING, raising=False)
    monkeypatch.setattr(cpu_binding, "cpu_build", lambda: True)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    cpu_binding.bind_ranks({})
    assert cpu_binding.BINDING not in os.environ
    cpu_binding.bind_ranks({"tensor_parallel_size": 2})
    assert os.environ[cpu_binding.BINDING] == "0|1"
    monkeypatch.delenv(cpu_binding.BINDING)
    cpu_binding.bind_ranks({"data_parallel_size": 2})
    assert os.environ[cpu_binding.BINDING] == "0|1", "vLLM gives each replica its part of the list"
    monkeypatch.setenv(cpu_binding.BINDING, "1|0")
    cpu_binding.bind_ranks({"pipeline_parallel_size": 2})
    assert os.environ[cpu_binding.BINDING] == "1|0"


def test_a_build_for_cards_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(cpu_binding.BINDING, raising=False)
    monkeypatch.setattr(cpu_binding, "cpu_build", lambda: False)
    cpu_binding.bind_ranks({"tensor_parallel_size": 2})
    assert cpu_binding.BINDING not in os.environ
