"""Ctrl-C in the middle of a measurement on a real engine."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from engine_probe import load
from tests.support.processes.command import ENGINE_SECONDS
from tests.support.processes.waiting import wait_until

SMALL = ["--block-size", "32", "--num-gpu-blocks-override", "256", "--max-model-len", "512", "--enforce-eager"]
ENDLESS = ["--num-prompts", "5000", "--max-concurrency", "8", "--output-len", "256", "--input-len", "32"]


@pytest.mark.slow
def test_profile_summarises_what_ran(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "engine_probe", "profile", "--model", "tiny", *ENDLESS, *SMALL, "--out", str(out)]
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True)
        wait_until(lambda: process.poll() is not None or has_answers(out))
        process.send_signal(signal.SIGINT)
        shown, _ = process.communicate(timeout=ENGINE_SECONDS)
    assert process.returncode == 130, shown
    assert f"interrupted: everything until then is recorded in {out}" in (tmp_path / "said").read_text()
    assert "requests answered" in shown
    assert load(out).requests.num_rows > 0


def has_answers(out: Path) -> bool:
    requests = out / "recording" / "requests.arrows"
    return requests.is_file() and requests.stat().st_size > 8192
