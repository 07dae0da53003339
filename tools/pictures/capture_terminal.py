"""Pictures of a terminal while a command runs in it: one SVG for each moment that is named.

Usage: python -m tools.pictures.capture_terminal NAME [--at MOMENT=PATTERN]... [--keep FOLDER] -- COMMAND...

The command runs in a tmux of 100 columns, in an empty folder. NAME-MOMENT.svg shows the last screen that held the
pattern, and NAME-end.svg the last screen of all. They are written to docs/pictures/terminal. --keep moves the
recording that the command wrote below runs/ to FOLDER, so that other pictures show the same measurement.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rich.ansi import AnsiDecoder
from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "docs" / "pictures" / "terminal"
COLUMNS, ROWS = 100, 80
LOOK_SECONDS = 0.25
# rich asks a server for the font; a picture that stands alone takes a monospaced one of the reader's.
FONT_FACES = re.compile(r"@font-face \{\{.*?\}\}", re.DOTALL)


class Terminal:
    """A tmux server of our own with one window, in which a command runs."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self._socket = folder / "tmux"
        self._folder = folder / "work"
        self._folder.mkdir()
        self._ended = folder / "ended"
        self._command = command

    def __enter__(self) -> Terminal:
        search = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": search, "COLORTERM": "truecolor"}
        environment.pop("TMUX", None)
        size = ["-x", str(COLUMNS), "-y", str(ROWS)]
        self._tmux("new-session", "-d", *size, "-c", str(self._folder), self._wrapped(), environment=environment)
        return self

    def __exit__(self, *error: object) -> None:
        self._tmux("kill-server", check=False)

    def _wrapped(self) -> str:
        """Wait for a line before the command and after it, so that the window is there as long as it is looked at."""
        return f"read -r _; clear; {shlex.join(self._command)}; touch {shlex.quote(str(self._ended))}; read -r _"

    def screens(self) -> Iterator[str]:
        """Yield what the screen shows, again and again, until the command has ended."""
        self._tmux("send-keys", "", "Enter")
        ended = False
        while not ended:
            time.sleep(LOOK_SECONDS)
            ended = self._ended.exists()
            yield self._tmux("capture-pane", "-p", "-e")

    def _tmux(self, *words: str, environment: dict[str, str] | None = None, check: bool = True) -> str:
        command = ["tmux", "-f", "/dev/null", "-S", str(self._socket), *words]
        return subprocess.run(command, env=environment, check=check, capture_output=True, text=True).stdout


def screen_lines(screen: str) -> list[Text]:
    """Return the lines of a screen without the empty ones at its end; a style may go on in the next line."""
    lines = list(AnsiDecoder().decode(screen))
    while lines and not lines[-1].plain.strip():
        lines.pop()
    return lines


def draw(command: list[str], screen: str, picture: Path) -> None:
    from rich._export_format import CONSOLE_SVG_FORMAT

    with Path(os.devnull).open("w") as nowhere:
        console = Console(width=COLUMNS, record=True, file=nowhere, force_terminal=True, color_system="truecolor")
        console.print(Text.assemble(("$ ", "green"), (shlex.join(command), "bold")))
        for line in screen_lines(screen):
            console.print(line, no_wrap=True, overflow="crop")
        picture.parent.mkdir(parents=True, exist_ok=True)
        svg = console.export_svg(title="", code_format=FONT_FACES.sub("", CONSOLE_SVG_FORMAT), unique_id=picture.stem)
    picture.write_text(re.sub(r"[ \t]+\n", "\n", svg), encoding="utf-8")


def moment(text: str) -> tuple[str, re.Pattern[str]]:
    name, _, pattern = text.partition("=")
    if not pattern:
        raise argparse.ArgumentTypeError(f"{text!r}: give MOMENT=PATTERN")
    return name, re.compile(pattern)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--at", type=moment, action="append", default=[], metavar="MOMENT=PATTERN")
    parser.add_argument("--pictures", type=Path, default=PICTURES)
    parser.add_argument("--keep", type=Path, metavar="FOLDER")
    parser.add_argument("command", nargs="+")
    asked = parser.parse_args()
    if asked.keep is not None and asked.keep.exists():
        sys.stderr.write(f"capture_terminal: --keep {asked.keep}: it is already there: name a new folder\n")
        return 2
    if shutil.which("tmux") is None:
        sys.stderr.write("capture_terminal: no tmux on this machine: install one (apt-get install tmux)\n")
        return 3
    found: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as place, Terminal(asked.command, Path(place)) as terminal:
        for screen in terminal.screens():
            plain = Text.from_ansi(screen).plain
            found.update({name: screen for name, pattern in asked.at if pattern.search(plain)})
            found["end"] = screen
        if asked.keep is not None:
            (recording,) = (Path(place) / "work" / "runs").iterdir()
            shutil.move(recording, asked.keep)
    for name, screen in found.items():
        draw(asked.command, screen, asked.pictures / f"{asked.name}-{name}.svg")
        print(asked.pictures / f"{asked.name}-{name}.svg")
    if missing := [name for name, _ in asked.at if name not in found]:
        sys.stderr.write(f"capture_terminal: no screen showed the pattern of {', '.join(missing)}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
