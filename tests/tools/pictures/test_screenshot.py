"""The README's pictures: made from a sweep by a command, in light and dark, down to the end of the first chart."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.recordings.run_folders import write_sweep

pytestmark = pytest.mark.lengthy

TOOL = Path(__file__).parents[3] / "tools" / "pictures" / "screenshot.py"
README_WIDTH, MOST_BYTES = 1100, 400_000


def run(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(TOOL), *map(str, words)], capture_output=True, text=True, timeout=120)


def width(picture: Path) -> int:
    """Of a PNG: it follows the first 16 bytes."""
    (found,) = struct.unpack(">I", picture.read_bytes()[16:20])
    return int(found)


def test_two_pictures_of_one_page(tmp_path: Path, chromium: str) -> None:
    done = run(write_sweep(tmp_path / "sweep", (1, 2, 4, 8, 12, 20)), tmp_path / "pictures")
    assert done.returncode == 0, done.stderr
    light, dark = (tmp_path / "pictures" / f"report-{scheme}.png" for scheme in ("light", "dark"))
    assert width(light) == width(dark) == README_WIDTH
    assert light.read_bytes() != dark.read_bytes()
    assert max(light.stat().st_size, dark.stat().st_size) < MOST_BYTES


def test_what_is_no_sweep_makes_none(tmp_path: Path, chromium: str) -> None:
    done = run(tmp_path, tmp_path)
    assert (done.returncode, "holds no sweep" in done.stderr) == (2, True)
