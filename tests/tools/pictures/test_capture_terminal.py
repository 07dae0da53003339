"""Pictures of a terminal: the last screen that showed a pattern, in colour, and the last of all."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[3] / "tools" / "pictures" / "capture_terminal.py"
STORY = r"printf '\033[31mone\033[0m\n'; sleep 1; printf 'two\n'; sleep 1; printf '\033[1A\033[Kthree\n'; exit 3"

pytestmark = [
    pytest.mark.lengthy,
    pytest.mark.skipif(shutil.which("tmux") is None, reason="no tmux on this machine"),
]


def capture(pictures: Path, *moments: str) -> subprocess.CompletedProcess[str]:
    words = [f"--at={moment}" for moment in moments]
    script = pictures.with_suffix(".sh")
    script.write_text(STORY)
    command = [sys.executable, str(TOOL), "story", *words, "--pictures", str(pictures), "--", "sh", str(script)]
    return subprocess.run(command, capture_output=True, text=True, timeout=280)


def lines(picture: Path) -> list[str]:
    """The texts of an SVG but for the prompt."""
    found = re.findall(r"<text[^>]*>(.*?)</text>", picture.read_text(encoding="utf-8"))
    whole = [html.unescape(text).replace("\xa0", " ").strip() for text in found]
    return whole[next(number for number, line in enumerate(whole) if line.startswith("sh ")) + 1 :]


def test_each_moment_is_the_last_screen_that_showed_it(tmp_path: Path) -> None:
    done = capture(tmp_path / "pictures", "early=two")
    assert done.returncode == 0, done.stderr
    assert lines(tmp_path / "pictures" / "story-early.svg") == ["one", "two"]
    assert lines(tmp_path / "pictures" / "story-end.svg") == ["one", "three"]
    picture = (tmp_path / "pictures" / "story-end.svg").read_text(encoding="utf-8")
    assert "@font-face" not in picture  # nothing is fetched when it is looked at


def test_a_moment_that_never_came_is_named(tmp_path: Path) -> None:
    done = capture(tmp_path / "pictures", "never=four")
    assert (done.returncode, "never" in done.stderr) == (1, True)
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["story-end.svg"]
