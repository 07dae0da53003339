"""`kill -9` at any moment leaves everything but the last moment."""

from __future__ import annotations

import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine_probe import Run, load
from tests.support.engines.forked_engine import SERVER, run_program, start
from tests.support.engines.witness import broken_laws

# Requests without end, more than the pool holds; every step is told to the parent when it is over.
PROGRAM = """
import itertools, time
from engine_probe import Probe
from engine_probe.engine.build import build_llm
from engine_probe.engine.engine_spec import EngineSpec
arguments = dict(block_size=32, num_gpu_blocks_override=64, max_model_len=512, enforce_eager=True)
engine = build_llm(EngineSpec("tiny", arguments)).llm_engine
from vllm import SamplingParams
numbers = itertools.count()

def add():
    number = next(numbers)
    prompt = [10 + (number * 7 + position) % 200 for position in range(40 + number % 30)]
    parameters = SamplingParams(max_tokens=20 + number % 50, ignore_eos=True, temperature=0)
    engine.add_request(str(number), {"prompt_token_ids": prompt}, parameters)

with Probe(engine, out):
    for _ in range(30):
        add()
    while True:
        finished = [output for output in engine.step() if output.finished]
        tells.send(time.monotonic_ns())
        for _ in finished:
            add()
"""


@dataclass
class Killed:
    """What the child had told when it was killed, and what it left."""

    run: Run
    told_ns: list[int]  # when each step was over
    killed_ns: int


def killed_after(steps: int, out: Path) -> Killed:
    told, tells = SERVER.Pipe(duplex=False)
    child = start(out.parent / "log", run_program, PROGRAM, {"out": str(out), "tells": tells})
    tells.close()
    times: list[int] = []
    killed_ns = 0
    with suppress(EOFError):  # told before the signal came, the last ones
        while True:
            times.append(told.recv())
            if len(times) == steps:
                child.kill()
                killed_ns = time.monotonic_ns()
    child.join()
    assert child.exitcode == -signal.SIGKILL, (out.parent / "log").read_text()[-3000:]
    return Killed(load(out), times, killed_ns)


@pytest.mark.parametrize("steps", [3, 100, 331])
def test_what_was_recorded_survives(tmp_path: Path, steps: int) -> None:
    killed = killed_after(steps, tmp_path / "run")
    run, told_ns = killed.run, killed.told_ns
    assert run.status == "cut"
    assert "recovered" in run.notes[0]
    assert run.facts["engine"]["scheduler"] == "Scheduler"
    assert broken_laws(run) == []
    rows = run.iterations
    assert rows["iteration"].to_pylist() == list(range(rows.num_rows))
    assert rows.num_rows <= len(told_ns) + 1  # the step under way may have been packed and not told
    for begin, over in zip(rows["start_ns"].to_pylist(), told_ns, strict=False):
        assert begin < over
    # What is missing is a flush old, with much room for a machine on which the writer waits for a core.
    for found in (rows.num_rows, run.workers.num_rows):
        assert all(killed.killed_ns - over < 5e9 for over in told_ns[found:])
    both = min(rows.num_rows, run.workers.num_rows)
    assert run.workers["scheduled_tokens"].to_pylist()[:both] == rows["scheduled_tokens"].to_pylist()[:both]
    last = rows.slice(max(0, rows.num_rows - 1)).to_pylist()
    last_update_ns = sum(step[name] for step in last for name in ("start_ns", "schedule_ns", "execute_ns", "update_ns"))
    for request in run.requests.to_pylist():
        asked = 20 + int(request["request_id"].split("-")[0]) % 50
        assert request["output_tokens"] == asked
        # Its row is written before its steps: where the kill came in between, its tokens have no times.
        known = request["finished_ns"] <= last_update_ns
        assert sum(request["run_lengths"]) == (asked if known else 0)
        assert (request["last_token_iteration"] is not None) == known
    assert sum(rows["finished_requests"].to_pylist()) <= run.requests.num_rows
    assert not set(run.in_flight["request_id"].to_pylist()) & set(run.requests["request_id"].to_pylist())
    if steps > 300:
        assert rows.num_rows > 200
        assert run.requests.num_rows > 0
        assert run.preemptions.num_rows > 0
