"""A recorded run predicted as it was and under another setting, and the prediction checked on the real engine."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from engine_probe import load
from engine_probe.analysis.compare.scheduler_decisions import same_decisions
from engine_probe.recordings.run import Run
from tests.support.engines.forked_command import engine_probe_here
from tests.support.processes.command import engine_probe

SMALL = ["--block-size", "32", "--num-gpu-blocks-override", "30", "--max-model-len", "256", "--enforce-eager"]
LOAD = ["--num-prompts", "48", "--max-concurrency", "12", "--input-len", "50", "--output-len", "60"]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose pool is too small for its requests."""
    out = tmp_path_factory.mktemp("recorded") / "run"
    done = engine_probe_here("profile", "--model", "tiny", *SMALL, *LOAD, "--out", out)
    assert done.returncode == 0, done.stderr[-3000:]
    run = load(out)
    assert run.summary().preemptions > 0
    return run


def test_the_engine_does_what_was_predicted(recorded: Run, tmp_path: Path) -> None:
    """Unchanged the twin decides what the run decided, and changed what the real engine then decides."""
    out = tmp_path / "out"
    done = engine_probe_here(
        *("predict", recorded.folder, "--set", "max_num_seqs=8", "--verify", "--out", out),
        *("--json", tmp_path / "found.json", "--html", tmp_path / "page.html"),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((tmp_path / "found.json").read_text())
    decided = found["same_decisions"]
    assert decided["steps"] == decided["recorded"] == decided["predicted"] > 200
    predicted, measured = (load(found[side]["max_num_seqs=8"]["folder"]) for side in ("changed", "measured"))
    assert same_decisions(predicted.iterations, measured.iterations).all
    assert same_decisions(recorded.iterations, load(found["measured"]["unchanged"]["folder"]).iterations).all
    assert predicted.predicted
    assert not measured.predicted
    assert predicted.summary().peak_running == 8
    assert predicted.facts["workload"]["sha256"] == recorded.facts["workload"]["sha256"]
    assert "Predicted: tiny, max_num_seqs=8" in (tmp_path / "page.html").read_text()
    compared = engine_probe_here("compare", recorded.folder, out / "unchanged", out / "max_num_seqs=8")
    assert "prediction from" in " ".join(compared.stdout.split())


@pytest.mark.slow
def test_requests_without_a_known_workload_are_replayed(recorded: Run, tmp_path: Path) -> None:
    """As those of a server, of which only lengths and times are recorded."""
    folder = tmp_path / "served"
    shutil.copytree(recorded.folder, folder)
    facts = json.loads((folder / "run.json").read_text())
    del facts["workload"]
    (folder / "run.json").write_text(json.dumps(facts))
    done = engine_probe("predict", folder, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr[-3000:]
    again = load(tmp_path / "out" / "unchanged")
    for name in ("prompt_tokens", "output_tokens"):
        assert sorted(again.requests[name].to_pylist()) == sorted(recorded.requests[name].to_pylist())
    spans = [max(times) - min(times) for times in (run.requests["arrival_ns"].to_pylist() for run in (again, recorded))]
    assert spans[0] == pytest.approx(spans[1], rel=0.01)
