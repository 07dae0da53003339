"""Pipeline parallelism on vLLM's CPU build: refused where it would fail at the first request."""

from __future__ import annotations

from typing import Any

import pytest

from engine_probe.engine.cpu import pipeline_stages
from engine_probe.engine.cpu.pipeline_stages import check_stages
from engine_probe.errors import InputError

OFF: list[dict[str, Any]] = [
    {"enforce_eager": True},
    {"compilation_config": {"mode": 0}},
    {"compilation_config": {"mode": "NONE"}},
    {"compilation_config.mode": 0},
    {"optimization_level": 0},
]


@pytest.fixture
def cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline_stages, "cpu_build", lambda: True)


@pytest.mark.parametrize("arguments", OFF, ids=str)
def test_stages_without_compilation_are_refused(cpu: None, arguments: dict[str, Any]) -> None:
    (name,) = arguments
    with pytest.raises(InputError, match=f"pipeline_parallel_size is 2 and {name}.* turns compilation off"):
        check_stages({"pipeline_parallel_size": 2, **arguments})


@pytest.mark.parametrize(
    "arguments", [{}, {"enforce_eager": False}, {"compilation_config": {"mode": 3}}, {"optimization_level": 2}], ids=str
)
def test_stages_of_a_compiled_model_are_not(cpu: None, arguments: dict[str, Any]) -> None:
    check_stages({"pipeline_parallel_size": 2, **arguments})


def test_one_stage_needs_no_compilation(cpu: None) -> None:
    check_stages({"enforce_eager": True})


def test_other_builds_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline_stages, "cpu_build", lambda: False)
    check_stages({"pipeline_parallel_size": 2, "enforce_eager": True})
