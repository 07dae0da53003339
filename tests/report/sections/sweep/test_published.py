"""The rows of published figures: each with its curve, and once if no curve gives it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from engine_probe.evaluation.published.published_comparison import Beside
from engine_probe.evaluation.published.reference import Published
from engine_probe.recordings.curve import Curve, curves
from engine_probe.recordings.sweep import load_sweep
from engine_probe.report.sections.sweep.published import named_pairs
from tests.support.recordings.run_folders import write_sweep

WEIGHTS = Published(model="tiny", what="weights_gib", value=1.5)


@pytest.fixture
def short_and_long(tmp_path: Path) -> list[Curve]:
    (curve,) = curves(load_sweep(write_sweep(tmp_path / "sweep", (1, 4))).points)
    return [replace(curve, settings={"input_len": tokens}) for tokens in (8000, 16000)]


@pytest.mark.parametrize(
    ("measured", "names"),
    [
        ((None, None), ["weights, GiB"]),
        ((1.4, None), ["weights, GiB (input_len 8000)", "weights, GiB (input_len 16000)"]),
    ],
)
def test_what_no_curve_gives_is_told_once(
    short_and_long: list[Curve], measured: tuple[float | None, ...], names: list[str]
) -> None:
    found = [Beside(curve, WEIGHTS, value, ()) for curve, value in zip(short_and_long, measured, strict=True)]
    assert [name for name, _ in named_pairs(found)] == names


def test_a_figure_of_one_curve_names_it(short_and_long: list[Curve]) -> None:
    assert [name for name, _ in named_pairs([Beside(short_and_long[0], WEIGHTS, None, ())])] == [
        "weights, GiB (input_len 8000)"
    ]
