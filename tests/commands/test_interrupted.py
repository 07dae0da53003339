"""Ctrl-C: what was recorded is kept and summarised; where nothing was, nothing is left behind."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from engine_probe.commands import perplexity, profile
from engine_probe.commands.sweep import cli, measure
from tests.support.recordings.run_folders import ran, write_run, write_sweep

NOTHING = "interrupted before anything was recorded"
NO_ROWS = '{"sweep": {}, "points": []}'


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def typed(command: Any, *words: str) -> Result:
    return CliRunner().invoke(command, words)


def starting(folder: Path) -> None:
    """An engine that is still starting has a log."""
    (folder / "engine.log").write_text("loading")
    raise KeyboardInterrupt


def test_profile_while_the_engine_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "measure", lambda point, folder, force: starting(folder))
    done = typed(profile.command, "--model", "tiny")
    assert (done.exit_code, done.stdout, done.stderr) == (130, "", f"{NOTHING}\n")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_was_there_before_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    monkeypatch.setattr(profile, "measure", lambda point, folder, force: starting(folder))
    assert typed(profile.command, "--model", "tiny", "--out", "mine/deeper/run").exit_code == 130
    assert [path.name for path in tmp_path.rglob("*")] == ["mine"]


def test_profile_in_the_middle_of_its_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(point: object, folder: Path, force: bool) -> None:
        write_run(folder / "recording", ran(4))
        starting(folder)

    monkeypatch.setattr(profile, "measure", measure)
    done = typed(profile.command, "--model", "tiny", "--out", "out")
    assert (done.exit_code, done.stderr) == (130, "interrupted: everything until then is recorded in out\n")
    assert "160 tokens, 4 requests answered" in done.stdout
    assert (tmp_path / "out/recording/run.json").is_file()


def test_perplexity_keeps_nothing_of_a_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text").write_text("word " * 100)
    monkeypatch.setattr(perplexity, "measure", lambda point, folder, force: starting(folder))
    done = typed(perplexity.command, "--model", "tiny", "--text", "text", "--window", "64")
    assert (done.exit_code, done.stderr) == (130, "interrupted before the whole text was scored: nothing is kept\n")
    assert [path.name for path in tmp_path.iterdir()] == ["text"]


def interrupted_sweep(monkeypatch: pytest.MonkeyPatch, begin: Callable[[Path], object], *words: str) -> Result:
    def run(asked: object, results: Any, *_: object) -> None:
        begin(results.folder)
        starting(results.folder)

    monkeypatch.setattr(measure, "run", run)
    return typed(cli.command, "smoke", "--set", "engine.model=tiny", *words)


def test_a_sweep_before_its_first_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = interrupted_sweep(monkeypatch, lambda folder: (folder / "sweep.json").write_text(NO_ROWS))
    assert done.exit_code == 130
    assert done.stderr.endswith(f"{NOTHING}\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.lengthy
def test_a_sweep_with_a_recording_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = interrupted_sweep(monkeypatch, lambda folder: write_sweep(folder, (1, 2)), "--out", "out")
    assert done.exit_code == 130
    assert done.stderr.endswith("interrupted: what is complete is kept; continue with --resume out\n")
    assert (tmp_path / "out/sweep.json").is_file()


def row_alone(folder: Path) -> None:
    """A point with the probe off has a row and no recording."""
    write_sweep(folder, (1,))
    shutil.rmtree(folder / "points")


def still_copied(folder: Path) -> None:
    """A second Ctrl-C does not wait for the copy of a recording from another machine."""
    (folder / "sweep.json").write_text(NO_ROWS)
    (folder / "points" / ".p1.partial").mkdir(parents=True)
    (folder / "points" / ".p1.partial" / "run.json").write_text("{")


@pytest.mark.parametrize("begin", [row_alone, still_copied])
def test_a_sweep_is_kept_before_its_screen_heard_of_a_finished_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begin: Callable[[Path], None]
) -> None:
    done = interrupted_sweep(monkeypatch, begin, "--out", "out")
    assert (done.exit_code, done.stdout) == (130, "")
    assert done.stderr.endswith("interrupted: what is complete is kept; continue with --resume out\n")
    assert (tmp_path / "out/sweep.json").is_file()


def test_an_engine_that_still_writes_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a second Ctrl-C nobody waits for the engine: here it adds a file to a folder that is being removed."""
    rmdir = os.rmdir

    def written_before(path: Any, **where: Any) -> None:
        if Path(path).name == "p1":
            (tmp_path / "out/points/p1/late").touch()
        rmdir(path, **where)

    monkeypatch.setattr(os, "rmdir", written_before)
    done = interrupted_sweep(monkeypatch, lambda folder: (folder / "points/p1").mkdir(parents=True), "--out", "out")
    assert done.exit_code == 130
    assert done.stderr.endswith(f"{NOTHING}\n")
    assert [path.name for path in (tmp_path / "out").rglob("*")] == ["points", "p1", "late"]


def test_a_resumed_sweep_keeps_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = write_sweep(tmp_path / "before", (1,)) / "sweep.json"
    content = before.read_bytes()
    done = interrupted_sweep(monkeypatch, lambda folder: None, "--resume", "before")
    assert done.stderr.endswith("continue with --resume before\n")
    assert before.read_bytes() == content
