"""A window of operators in a sweep file: a part of the point's identity, and refused where it cannot be."""

from pathlib import Path
from typing import Any

import pytest

from engine_probe.errors import InputError
from engine_probe.sweep.definition.loader import read_sweep
from engine_probe.sweep.definition.setting_checks import check_window
from engine_probe.sweep.definition.sweep_file import EngineSection, Point, points
from engine_probe.sweep.definition.workload_section import WorkloadSection

TEXT = """
question = "Where does the time go?"
operators = {window}
[engine]
model = "tiny"
[workload]
input_len = 16
output_len = 16
num_prompts = 4
concurrency = 2
"""


def point(operators: str | None, arguments: dict[str, Any] | None = None, **changes: Any) -> Point:
    work = WorkloadSection(**{"input_len": 16, "output_len": 16, "concurrency": 2, "num_prompts": 4} | changes)
    return Point(EngineSection("tiny", arguments or {}), work, operators=operators)


def test_every_point_of_a_sweep_has_the_window(tmp_path: Path) -> None:
    path = tmp_path / "sweep.toml"
    path.write_text(TEXT.format(window='"20@5"'))
    (found,) = points(read_sweep(str(path)))
    assert found.operators == "20@5"


def test_a_window_makes_another_point_and_none_leaves_the_identity_of_earlier_sweeps() -> None:
    assert point("20@5").key != point("20@6").key != point(None).key
    assert point(None).key == Point(point(None).engine, point(None).workload).key


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (point("20"), "STEPS@FIRST"),
        (point("20@109"), "fewer steps than 129"),
        (point("1@5", {"profiler_config": {"profiler": "torch"}}), "profiler_config"),
        (point("1@5", {"profiler_config.profiler": "torch"}), "profiler_config"),
        (Point(EngineSection("tiny"), WorkloadSection(16, 16, 2), probe=False, operators="1@5"), "probe = false"),
    ],
)
def test_a_window_that_cannot_be_is_refused(wrong: Point, words: str) -> None:
    with pytest.raises(InputError, match=words):
        check_window(wrong)


def test_a_window_that_can_be_is_not_refused() -> None:
    check_window(point(None))
    check_window(point("20@108"))  # 4 requests of 32 tokens, a token in every step
    check_window(point("20@5000", num_prompts=None, hold=True))


def test_a_sweep_file_with_such_a_window_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "sweep.toml"
    path.write_text(TEXT.format(window='"20 from 100"'))
    with pytest.raises(InputError, match=r"sweep\.toml: operators"):
        read_sweep(str(path))
