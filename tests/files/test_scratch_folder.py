"""A scratch folder lives as long as its owner, whatever number its process has."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from engine_probe.files.scratch_folder import ScratchFolder, remove_abandoned

PREFIX = "engine_probe-test-"
OWNER = f"""
import time
from engine_probe.files.scratch_folder import ScratchFolder
folder = ScratchFolder({PREFIX!r})
(folder.path / "measured").write_text("mine")
print(folder.path, flush=True)
time.sleep(600)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_what_a_killed_owner_left_is_removed_and_what_a_live_one_has_stays(temporary: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(temporary)}
    owner = subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, env=environment, text=True)
    try:
        assert owner.stdout is not None
        theirs = Path(owner.stdout.readline().strip())
        ours = ScratchFolder(PREFIX)
        assert (theirs / "measured").read_text() == "mine"
        owner.send_signal(signal.SIGKILL)
        owner.wait()
        remove_abandoned(PREFIX)
        assert not theirs.exists()
        assert ours.path.is_dir()
        ours.remove()
        assert list(temporary.iterdir()) == []
    finally:
        owner.kill()
        owner.wait()


def test_a_folder_named_by_the_number_of_no_process_here_is_kept_while_it_is_held(temporary: Path) -> None:
    """As another container's is: its process has no entry below /proc here."""
    other = ScratchFolder(f"{PREFIX}4194305-")
    remove_abandoned(PREFIX)
    assert other.path.is_dir()
    other.remove()


def test_nothing_is_removed_through_a_link(temporary: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    mine = tmp_path_factory.mktemp("mine")
    (mine / "file").write_text("mine")
    (temporary / f"{PREFIX}link").symlink_to(mine)
    remove_abandoned(PREFIX)
    assert (mine / "file").read_text() == "mine"


@pytest.mark.parametrize("opened", [True, False], ids=["before it is locked", "before it is opened"])
def test_one_that_is_taken_for_abandoned_is_made_again(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, opened: bool
) -> None:
    real, made = tempfile.mkdtemp, []

    def make(prefix: str) -> str:
        made.append(real(prefix=prefix))
        return made[-1]

    real_open = os.open

    def open_late(path: Path, flags: int, **more: int | None) -> int:
        if len(made) > 1:
            return real_open(path, flags, **more)
        if not opened:
            Path(path).rmdir()
        descriptor = real_open(path, flags, **more)
        Path(path).rmdir()
        return descriptor

    monkeypatch.setattr(tempfile, "mkdtemp", make)
    monkeypatch.setattr("engine_probe.files.scratch_folder.os.open", open_late)
    folder = ScratchFolder(PREFIX)
    assert str(folder.path) == made[1]
    folder.remove()
