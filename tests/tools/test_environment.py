"""The set-up: one clear sentence for what cannot be had, and a stamp that never lies."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
import environment


@pytest.mark.parametrize("version", [(3, 8), (3, 10), (3, 14)])
def test_a_wrong_python_is_named(version: tuple[int, int]) -> None:
    with pytest.raises(environment.SetupError, match=f"this is Python {version[0]}.{version[1]}") as caught:
        environment.check_python(version)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("version", [(3, 11), (3, 12), (3, 13)])
def test_a_right_python_passes(version: tuple[int, int]) -> None:
    assert environment.check_python(version) is None


def test_too_little_space_says_how_much_is_needed() -> None:
    with pytest.raises(environment.SetupError, match=r"1\.0 GiB free, the cuda environment needs 12"):
        environment.check_space("cuda", 1 << 30)


def test_the_flavour_can_be_chosen_but_not_invented() -> None:
    assert environment.choose_flavour({"ENGINE_PROBE_FLAVOUR": "cuda"}) == "cuda"
    with pytest.raises(environment.SetupError, match="'rocm'") as caught:
        environment.choose_flavour({"ENGINE_PROBE_FLAVOUR": "rocm"})
    assert caught.value.exit_code == 2


def test_only_the_very_same_recipe_counts_as_ready(tmp_path: Path) -> None:
    stamp = tmp_path / "stamp"
    assert not environment.is_ready(stamp, "recipe")
    stamp.write_text("another")
    assert not environment.is_ready(stamp, "recipe")
    stamp.write_text("recipe\n")
    assert environment.is_ready(stamp, "recipe")


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("ERROR: [Errno 28] No space left on device", "disk filled up"),
        ("ERROR: No matching distribution found for torch==2.13.0+cpu", "no CPU build of torch"),
        ("ERROR: No matching distribution found for hatchling>=1.26", "package index cannot be reached"),
    ],
)
def test_what_pip_says_becomes_a_sentence(said: str, sentence: str) -> None:
    assert sentence in environment.explain_failure(said)
