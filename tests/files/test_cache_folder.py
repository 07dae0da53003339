"""A folder of the cache is whole or absent, whoever starts at once, dies or runs out of space."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine_probe.errors import UnavailableError
from engine_probe.files import cache_folder as model_cache
from engine_probe.files.cache_folder import cache_folder, prepared

SLOW_BUILDER = """
import sys, time
from pathlib import Path
from engine_probe.files.cache_folder import prepared

def build(folder):
    with open(sys.argv[2], "a") as log:
        log.write("built\\n")
    (folder / "half").write_text("x")
    print("half done", flush=True)
    time.sleep(float(sys.argv[3]))
    (folder / "whole").write_text("x")

prepared(Path(sys.argv[1]), build)
"""


def start(folder: Path, log: Path, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SLOW_BUILDER, str(folder), str(log), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def parts(folder: Path) -> list[Path]:
    return [path for path in folder.parent.iterdir() if ".part-" in path.name]


def test_the_folder_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ENGINE_PROBE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "engine_probe"
    monkeypatch.setenv("ENGINE_PROBE_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    assert not cache_folder().exists()


def test_it_is_built_once(tmp_path: Path) -> None:
    built = []
    for _ in range(2):
        folder = prepared(tmp_path / "deep" / "x", lambda temporary: built.append(temporary))
    assert folder == tmp_path / "deep" / "x"
    assert len(built) == 1


@pytest.mark.lengthy
def test_two_processes_at_once_do_the_work_once(tmp_path: Path) -> None:
    folder, log = tmp_path / "x", tmp_path / "log"
    both = [start(folder, log, 0.5) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert log.read_text() == "built\n"
    assert sorted(path.name for path in folder.iterdir()) == ["half", "whole"]
    assert not parts(folder)


@pytest.mark.lengthy
def test_killed_in_the_middle_nothing_half_written_is_taken_for_whole(tmp_path: Path) -> None:
    folder, log = tmp_path / "x", tmp_path / "log"
    victim = start(folder, log, 60)
    assert victim.stdout is not None
    assert victim.stdout.readline() == "half done\n"
    waiting = start(folder, log, 0)
    time.sleep(0.3)
    os.kill(victim.pid, signal.SIGKILL)
    victim.wait(60)
    assert waiting.wait(60) == 0
    assert log.read_text() == "built\n" * 2
    assert (folder / "whole").exists()
    assert not parts(folder)


def test_a_failing_builder_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise RuntimeError("no luck")

    with pytest.raises(RuntimeError, match="no luck"):
        prepared(tmp_path / "x", fail)
    assert not (tmp_path / "x").exists()
    assert not parts(tmp_path / "x")


def test_without_space_it_says_so_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"GiB free and .* GiB are needed: .*ENGINE_PROBE_CACHE"):
        prepared(tmp_path / "x", lambda folder: pytest.fail("was built all the same"), needs_bytes=1 << 60)
    assert not (tmp_path / "x").exists()


def test_a_disk_that_fills_up_meanwhile_is_one_sentence(tmp_path: Path) -> None:
    def fill(folder: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(UnavailableError, match="No space left on device; make room"):
        prepared(tmp_path / "x", fill)


def test_a_place_that_is_no_folder_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UnavailableError, match=r"cannot write .*ENGINE_PROBE_CACHE"):
        prepared(tmp_path / "file" / "x", lambda folder: None)


def test_free_space_is_asked_where_the_folder_will_be(tmp_path: Path) -> None:
    assert model_cache.free_bytes(tmp_path / "not" / "there") > 0
