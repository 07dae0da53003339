"""Ranks of a CPU engine get cores of their own, as many each, and the user's word counts."""

from __future__ import annotations

import os

import pytest

from engine_probe.engine import cores
from engine_probe.errors import InputError


@pytest.mark.parametrize(
    ("given", "ranks", "shared"),
    [([0, 1], 2, "0|1"), ([0, 1, 2, 3], 2, "0,1|2,3"), ([4, 6, 7], 2, "4|6"), ([0, 1, 2], 3, "0|1|2")],
)
def test_cores_are_shared_out_evenly(given: list[int], ranks: int, shared: str) -> None:
    assert cores.shares(given, ranks) == shared


def test_more_ranks_than_cores_are_refused() -> None:
    with pytest.raises(InputError, match=r"3 ranks need a core each .* may use 2"):
        cores.shares([0, 1], 3)


def test_only_several_ranks_of_a_cpu_build_are_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(cores.BINDING, raising=False)
    monkeypatch.setattr(cores, "cpu_build", lambda: True)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    cores.bind_ranks({})
    assert cores.BINDING not in os.environ
    cores.bind_ranks({"tensor_parallel_size": 2})
    assert os.environ[cores.BINDING] == "0|1"
    monkeypatch.delenv(cores.BINDING)
    cores.bind_ranks({"data_parallel_size": 2})
    assert os.environ[cores.BINDING] == "0|1", "vLLM gives each replica its part of the list"
    monkeypatch.setenv(cores.BINDING, "1|0")
    cores.bind_ranks({"pipeline_parallel_size": 2})
    assert os.environ[cores.BINDING] == "1|0"


def test_a_build_for_cards_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(cores.BINDING, raising=False)
    monkeypatch.setattr(cores, "cpu_build", lambda: False)
    cores.bind_ranks({"tensor_parallel_size": 2})
    assert cores.BINDING not in os.environ
