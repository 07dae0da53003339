"""`-` in place of a file: the form itself goes to standard output, and nothing else does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from engine_probe.commands import compare, export, report, trace
from tests.support.recordings.run_folders import ran, write_run, write_sweep


def written(command: Any, *words: object) -> bytes:
    result = CliRunner().invoke(command, [str(word) for word in words])
    assert result.exit_code == 0, result.exception
    return result.stdout_bytes


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_run(tmp_path / "run", ran(4))


def is_page(content: bytes) -> bool:
    return content.startswith(b"<!doctype html>") and content.rstrip().endswith(b"</html>")


def test_a_report_of_a_run(run: Path) -> None:
    assert is_page(written(report.command, run, "--html", "-"))
    assert "summary" in json.loads(written(report.command, run, "--json", "-"))
    assert written(report.command, run, "--markdown", "-").startswith(b"## tiny\n")
    assert not (run.parent / "-").exists()


def test_a_report_of_a_sweep_with_a_file_beside_it(tmp_path: Path) -> None:
    sweep, figures = write_sweep(tmp_path / "sweep", (1, 2)), tmp_path / "figures.json"
    assert is_page(written(report.command, sweep, "--html", "-", "--json", figures))
    assert json.loads(figures.read_bytes())


def test_a_comparison(run: Path) -> None:
    assert is_page(written(compare.command, run, run, "--html", "-"))


def test_a_trace_and_an_export(run: Path) -> None:
    written(trace.command, run, "--out", "trace")
    assert written(trace.command, run, "--out", "-") == Path("trace").read_bytes()
    assert "mean_ttft_ms" in json.loads(written(export.command, run, "--to", "vllm-bench-serve", "--out", "-"))
