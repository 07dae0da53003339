"""Ctrl-C: what was recorded is kept and summarised; where nothing was, nothing is left behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from engine_probe.commands import perplexity, profile
from engine_probe.commands.sweep import cli, measure
from tests.support.recordings import ran, write_run, write_sweep

NOTHING = "interrupted before anything was recorded"


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
    done = interrupted_sweep(monkeypatch, lambda folder: (folder / "sweep.json").write_text("{}"))
    assert done.exit_code == 130
    assert done.stderr.endswith(f"{NOTHING}\n")
    assert not list(tmp_path.iterdir())


def test_a_sweep_with_a_recording_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = interrupted_sweep(monkeypatch, lambda folder: write_sweep(folder, (1, 2)), "--out", "out")
    assert done.exit_code == 130
    assert done.stderr.endswith("interrupted: what is complete is kept; continue with --resume out\n")
    assert (tmp_path / "out/sweep.json").is_file()


def test_a_resumed_sweep_keeps_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = write_sweep(tmp_path / "before", (1,)) / "sweep.json"
    content = before.read_bytes()
    done = interrupted_sweep(monkeypatch, lambda folder: None, "--resume", "before")
    assert done.stderr.endswith("continue with --resume before\n")
    assert before.read_bytes() == content
