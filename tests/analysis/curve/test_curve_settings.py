"""Points are of one curve where they differ in their load alone, whatever their labels say."""

from __future__ import annotations

from typing import Any

import pytest

from engine_probe.analysis.curve.curve_settings import curve_name, curve_settings, distinguishing
from engine_probe.workload.load import load_of


def settings(*points: dict[str, Any]) -> list[dict[str, Any]]:
    return curve_settings(points, [load_of(point["workload"]) for point in points])


def point(concurrency: int | None = None, repeat: int = 0, **more: Any) -> dict[str, Any]:
    arguments = {name: more.pop(name) for name in ("max_num_seqs", "tensor_parallel_size") if name in more}
    work = {"concurrency": concurrency, "num_prompts": concurrency, **more}
    return {"engine": {"model": "tiny", "arguments": arguments}, "workload": work, "repeat": repeat, "label": "any"}


def at_rate(rate: float, most: int = 8) -> dict[str, Any]:
    return point(most, num_prompts=500, arrivals={"kind": "open_loop", "request_rate": rate})


def test_loads_and_repeats_are_one_curve() -> None:
    assert settings(point(1), point(4), point(4, repeat=1), point(16)) == [{}] * 4


def test_a_setting_that_differs_makes_curves() -> None:
    several = settings(*(point(level, max_num_seqs=most) for most in (4, 64) for level in (1, 4)))
    assert several == [{"max_num_seqs": 4}] * 2 + [{"max_num_seqs": 64}] * 2
    assert [curve_name(each) for each in several[::2]] == ["max_num_seqs 4", "max_num_seqs 64"]


def test_a_setting_that_only_some_points_have_is_none_for_the_others() -> None:
    without, having = settings(point(1), point(1, tensor_parallel_size=2))
    assert (curve_name(without), curve_name(having)) == ("tensor_parallel_size none", "tensor_parallel_size 2")


def test_a_curve_over_rates_is_one_and_its_max_concurrency_another() -> None:
    assert settings(at_rate(5.0), at_rate(20.5)) == [{}, {}]
    assert settings(at_rate(20.0, 4), at_rate(20.0, 8)) == [{"concurrency": 4}, {"concurrency": 8}]


@pytest.mark.parametrize(("prompts", "own"), [([10, 40], {}), ([10, 10], {})])
def test_the_number_of_requests_that_follows_from_the_load_is_no_setting(
    prompts: list[int], own: dict[str, Any]
) -> None:
    assert settings(point(1, num_prompts=prompts[0]), point(4, num_prompts=prompts[1])) == [own, own]


def test_the_number_of_requests_at_one_load_is_a_setting() -> None:
    assert settings(point(4, num_prompts=10), point(4, num_prompts=40)) == [{"num_prompts": 10}, {"num_prompts": 40}]


def test_drawn_prompts_and_answers_are_told_apart() -> None:
    answers = {"kind": "normal", "mean": 64.0, "deviation": 8.0, "high": 90}
    drawn = [answers | {"mean": mean, "high": 90} for mean in (20.0, 40.0)]
    several = settings(*(point(4, prompts={"input_len": each}, output_len=answers) for each in drawn))
    assert several == [{"input_len.mean": 20.0}, {"input_len.mean": 40.0}]
    assert [curve_name(each) for each in several] == ["input_len.mean 20", "input_len.mean 40"]


def test_what_a_sweep_wrote_as_its_curve_is_no_setting() -> None:
    first, second = point(1) | {"curve": {"max_num_seqs": 4}}, point(2) | {"curve": {}}
    assert settings(first, second) == [{}, {}]


@pytest.mark.parametrize(
    ("several", "names"),
    [
        ([{"model": "a", "seqs": 1, "sweep": "x"}, {"model": "b", "seqs": 2, "sweep": "y"}], ["model"]),
        ([{"model": "a", "seqs": 1, "sweep": "x"}, {"model": "a", "seqs": 2, "sweep": "y"}], ["seqs"]),
        ([{"model": "a", "seqs": 1, "sweep": "x"}, {"model": "a", "seqs": 1, "sweep": "y"}], ["sweep"]),
        ([{"model": m, "seqs": s, "sweep": "x"} for m in "ab" for s in (1, 2)], ["model", "seqs"]),
        ([{"model": "a", "seqs": 1}, {"model": "b", "seqs": 1}, {"model": "b", "seqs": 2}], ["model", "seqs"]),
        ([{"model": "a", "id": 1}, {"model": "b", "id": 2}, {"model": "b", "id": 3}], ["id"]),
        ([{"model": "a"}, {"model": "a"}], []),
    ],
)
def test_curves_are_named_by_as_few_settings_as_tell_them_apart(
    several: list[dict[str, Any]], names: list[str]
) -> None:
    assert distinguishing(several, ("model",)) == names
