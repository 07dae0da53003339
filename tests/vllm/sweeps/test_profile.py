"""`engine_probe profile` on a real engine, and what it refuses before it starts one."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from engine_probe import load
from engine_probe.engine.start_phases import StartPhases
from tests.support.engines.forked_command import engine_probe_here
from tests.support.processes.command import engine_probe

SMALL = ["--block-size", "32", "--num-gpu-blocks-override", "48", "--max-model-len", "256", "--enforce-eager"]


def profile(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return engine_probe("profile", *arguments, **environment)


def phases_of(log: str) -> list[str]:
    """Return the phases that the whole log of a start tells of: they do not depend on how often it was looked at."""
    phases = StartPhases(0.0)
    phases.read(log, 0.0)
    return [phase.name for phase in phases.started(0.0).phases]


def test_a_point_is_measured_and_summarised(tmp_path: Path) -> None:
    out = tmp_path / "out"
    point = ["--num-prompts", "40", "--max-concurrency", "16", "--input-len", "60", "--output-len", "50"]
    done = profile(*SMALL, "--model", "tiny", *point, "--out", str(out))
    assert done.returncode == 0, done.stderr
    run = load(out)
    assert run.status == "complete"
    assert run.requests.num_rows == 40
    assert max(run.iterations["running_requests"].to_pylist()) <= 16
    assert run.facts["workload"]["num_prompts"] == 40
    start = run.facts["start_phases"]
    names = [phase["name"] for phase in start["phases"]]
    assert names[:2] == ["importing vLLM", "reading the configuration"]
    assert names == phases_of((out / "engine.log").read_text())
    assert sum(phase["seconds"] for phase in start["phases"]) == pytest.approx(start["seconds"])
    assert f"engine started in {start['seconds']:.0f} s" in done.stderr
    assert "importing vLLM" in done.stderr
    assert f"{40 * 50:,} tokens, 40 requests answered" in done.stdout
    whole = engine_probe_here("report", out, "--verbose").stdout
    assert "The probe took" in whole
    assert "Compute (MFU):" in whole
    assert "of the host's" in " ".join(whole.split())  # where its memory went
    assert "INFO" not in done.stdout + done.stderr
    again = engine_probe_here("profile", "--model", "tiny", *point, "--out", str(out), *SMALL)
    assert again.returncode == 2
    assert "never overwritten" in again.stderr


@pytest.mark.slow
def test_a_recording_goes_behind_a_uri_and_nothing_of_it_stays_elsewhere(tmp_path: Path) -> None:
    place, scratch = (tmp_path / "there").as_uri(), tmp_path / "scratch"
    scratch.mkdir()
    few = ["--num-prompts", "2", "--input-len", "20", "--output-len", "20"]
    done = profile("--model", "tiny", *few, "--out", place, *SMALL, TMPDIR=str(scratch))
    assert done.returncode == 0, done.stderr
    assert f"Every iteration is recorded in {place}." in done.stdout
    assert load(tmp_path / "there").requests.num_rows == 2
    assert (tmp_path / "there/engine.log").is_file()
    assert not list(scratch.glob("engine_probe-*"))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--model", "tinny"], "unknown model 'tinny': did you mean tiny?"),
        (["--model", "tiny", "--blok-size", "32"], "did you mean --block-size?"),
        (
            ["--model", "tiny", "--input-len", "200", "--output-len", "100", "--max-model-len", "256"],
            "is 300, more than",
        ),
        (["--num-prompts", "0"], "num-prompts"),
    ],
)
def test_what_is_wrong_is_said_before_an_engine_starts(tmp_path: Path, arguments: list[str], sentence: str) -> None:
    done = engine_probe_here("profile", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert not list(tmp_path.iterdir())
