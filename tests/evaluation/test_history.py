"""What is an earlier measurement of a side: the same points with the same settings on the same machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from engine_probe.evaluation.comparison import compare_each
from engine_probe.evaluation.history import earlier_of, open_history
from engine_probe.evaluation.measurement import Opened, opened
from tests.support.recordings.golden import write_repeated
from tests.support.recordings.run_folders import facts, ran, write_run

LEVELS = (4, 20)
BOTH = ((90, 47), (40, 47), (90, 49))  # blocks and tokens of a prompt: of the first side, the second, the first
NAMES = ("concurrency 4", "concurrency 20")


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    place = tmp_path_factory.mktemp("sides")
    return write_repeated(place / "before", 90, LEVELS), write_repeated(place / "after", 40, LEVELS)


@pytest.fixture(scope="module")
def measured(sides: tuple[Path, Path]) -> tuple[Opened, Opened]:
    return opened(sides[0]), opened(sides[1])


def other_ids(folder: Path) -> Path:
    """Write a sweep whose points are the hash of something else, such as an engine argument that no table shows."""
    write_repeated(folder, 90, LEVELS)
    for point in sorted((folder / "points").iterdir()):
        point.rename(point.with_name(point.name.replace("p", "q")))
    document = folder / "sweep.json"
    document.write_text(document.read_text().replace('"id": "p', '"id": "q'))
    return folder


@pytest.mark.parametrize(
    ("write", "why"),
    [
        (lambda folder: write_repeated(folder, 60, LEVELS), "KV blocks 90 → 60"),
        (lambda folder: write_repeated(folder, 90, LEVELS[:1]), "it has no complete concurrency 20"),
        (lambda folder: write_run(folder, ran(4), facts(90)), "it is a run"),
        (other_ids, "concurrency 4 has other settings"),
    ],
)
def test_what_is_no_repetition_is_left_out_with_its_reason(
    sides: tuple[Path, Path],
    measured: tuple[Opened, Opened],
    tmp_path: Path,
    write: Callable[[Path], Path],
    why: str,
) -> None:
    history = open_history([write(tmp_path / "earlier")], sides)
    found = earlier_of(history, *measured, NAMES)
    assert found.count == 0
    (line,) = found.left_out
    assert line.endswith(f"earlier is no earlier measurement of either side: {why}")


@pytest.mark.lengthy
def test_each_is_sorted_to_the_side_that_it_repeats(
    sides: tuple[Path, Path], measured: tuple[Opened, Opened], tmp_path: Path
) -> None:
    folders = [write_repeated(tmp_path / f"{blocks}-{prompt}", blocks, LEVELS, prompt) for blocks, prompt in BOTH]
    history = open_history([*folders, folders[0], *sides], sides)
    found = earlier_of(history, *measured, NAMES)
    assert [len(side) for side in found.sides] == [2, 1]
    assert found.left_out == []
    (compared,) = compare_each(sides[0], [sides[1]], earlier=folders)
    rate = compared.pairs[0].changes[0]
    assert [len(values) for values in rate.earlier] == [2, 1]
