"""Levels of users one after another, in a sweep file: how many requests they are, and what contradicts them."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine_probe.errors import InputError
from engine_probe.sweep.definition.loader import read_sweep
from engine_probe.sweep.definition.sweep_file import points
from engine_probe.workload.request_plan import UserStep, make_plan

TEXT = """
question = "What does the stress test do?"
[engine]
model = "tiny"
[workload]
input_len = 16
output_len = 16
{more}
"""


def read(tmp_path: Path, more: str) -> Path:
    path = tmp_path / "sweep.toml"
    path.write_text(TEXT.format(more=more))
    return path


def test_each_user_of_each_level_asks_so_often(tmp_path: Path) -> None:
    arrivals = 'arrivals = { kind = "steps", levels = [1, 5], pause_seconds = 2.0, requests = 3 }'
    (point,) = points(read_sweep(str(read(tmp_path, arrivals))))
    assert (point.workload.requests, point.workload.max_in_flight, point.load, point.load_in) == (18, 5, 5.0, "users")
    plan = make_plan(point.workload.description())
    assert plan.steps == [UserStep(1, 3, 2 * 10**9), UserStep(5, 15, 2 * 10**9)]
    assert plan.num_requests == 18


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ('arrivals = { kind = "steps", levels = [] }', "length >= 1"),
        ('arrivals = { kind = "steps", levels = [0] }', "levels"),
        (
            'num_prompts = 7\narrivals = { kind = "steps", levels = [1, 5] }',
            "steps ask 6 times, and num_prompts is 7: leave num_prompts out",
        ),
    ],
)
def test_what_contradicts_the_levels_is_refused(tmp_path: Path, more: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_sweep(str(read(tmp_path, more)))
