"""The mill's recordings are ones that the probe could have written, and what it measures is what was made."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pyarrow.compute as pc
import pytest

from engine_probe.recordings.run import load
from tools.results import mill

pytestmark = pytest.mark.lengthy


def test_its_recording_is_accepted_and_adds_up(tmp_path: Path) -> None:
    steps = 2_000
    run = load(mill.write(steps, tmp_path / "made").path)
    assert run.notes == []
    assert run.facts["status"] == "complete"
    assert run.iterations.num_rows == steps
    answered = (steps - mill.ANSWER) // mill.EVERY + 1
    assert run.requests.num_rows == answered
    total = {name: pc.sum(run.iterations[name]).as_py() for name in run.iterations.column_names}
    assert total["new_requests"] == steps // mill.EVERY
    assert total["prefill_tokens"] == total["new_requests"] * mill.PROMPT
    # each prompt's step delivers a token, too
    assert total["output_tokens"] == total["decode_tokens"] + total["new_requests"]
    assert total["finished_requests"] == answered
    last = run.iterations.slice(steps - 1).to_pylist()[0]
    ages = [age for age in range(steps) if age < mill.ANSWER and (steps - 1 - age) % mill.EVERY == 0]
    assert last["running_requests"] == len(ages)
    assert last["kv_tokens_live"] == sum(mill.PROMPT + age for age in ages)
    assert last["kv_blocks_scheduled"] == sum(map(mill.blocks, ages))
    assert last["kv_blocks_updated"] == last["kv_blocks_scheduled"] - mill.blocks(mill.ANSWER - 1)
    starts, first = run.iterations["start_ns"].to_pylist(), run.requests["first_token_iteration"].to_pylist()
    assert run.requests["first_scheduled_ns"].to_pylist() == [starts[step] for step in first]


def test_it_measures_and_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    figures = tmp_path / "mill.json"
    words = ["mill.py", "400", str(tmp_path / "made"), "--rounds", "1", "--json", str(figures), "--remark", "a test"]
    monkeypatch.setattr(sys, "argv", words)
    mill.main()
    told = json.loads(figures.read_text())
    assert [cost["what"] for cost in told["costs"]] == ["report", "trace"]
    assert told["remark"] == "a test"
    for cost in told["costs"]:
        assert (cost["steps"], cost["requests"], len(cost["seconds"])) == (400, 11, 1)
        assert cost["cpu_seconds"][0] > 0
        assert cost["peak_bytes"] > 20e6  # an interpreter and Arrow
        assert cost["written_bytes"] > 1_000
    rows = [line.split()[:3] for line in capsys.readouterr().out.splitlines()]
    assert ["report", "400", "11"] in rows
    assert ["trace", "400", "11"] in rows
    with pytest.raises(SystemExit, match="never overwritten"):
        mill.main()
