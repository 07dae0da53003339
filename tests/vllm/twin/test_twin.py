"""The twin against a real CPU engine, and its virtual time against what it was told."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pyarrow.compute as pc
import pytest

import engine_probe
from engine_probe.analysis.batch.calibration import Recorded, steps_alone
from engine_probe.analysis.batch.request_times import request_prices
from engine_probe.analysis.batch.speculation import speculation
from engine_probe.analysis.batch.step_prices import calibrated, step_sample, with_tokens
from engine_probe.engine.twin.settings import Twin
from engine_probe.engine.twin.step_times import TERMS, Price, StepTimes
from engine_probe.recordings.run import Run
from tests.support.engines.forked_command import engine_probe_here
from tests.support.engines.forked_engine import output_of, run_program, start
from tools.results.twin.faithfulness import CASES, ENGINES

FAITHFUL = ("asynchronous, prefix caching", 12)  # on every run of the tests; the others are slow
LEFT_TO_VLLM = ("short chunks", "windows", "windows in some layers", "drafts", "drafts, prefix caching")
TRUTH = (4e6, 1e6, 50e3, 9e3, 30e3, 3.0, 40.0, 0.0)
REQUESTS = {"arrival": Price(300e3), "end": Price(100e3)}
TIMES = StepTimes({name: Price(ns, 0.0, 1e9) for name, ns in zip(TERMS, TRUTH, strict=True)}, requests=REQUESTS)
SWEEP = """
question = "What would an engine do whose steps take this long?"
[engine]
model = "tiny"
[engine.arguments]
max_model_len = 256
[workload]
input_len = 40
output_len = 30
num_prompts = 24
hold = false
[axes]
"workload.arrivals" = [
  { kind = "closed_loop", users = 2 },
  { kind = "closed_loop", users = 12 },
  { kind = "open_loop", request_rate = 20.0 },
]
"""

FAITHFULNESS = """
import sys
from tests.support.engines.twin_faithfulness import main
sys.argv = words
main()
"""


@pytest.mark.parametrize(
    ("name", "cases"),
    [pytest.param(*FAITHFUL), *(pytest.param(name, CASES, marks=pytest.mark.slow) for name in ENGINES)],
)
def test_the_twin_decides_what_the_engine_decides(name: str, cases: int, tmp_path: Path) -> None:
    """The tokens of every request in every step, who runs, waits and is preempted, and the free blocks."""
    words = ["twin_faithfulness", name, "--cases", str(cases)]
    process = start(tmp_path / "log", run_program, FAITHFULNESS, {"words": words})
    found = json.loads(output_of(process, tmp_path / "log").splitlines()[-1])
    assert found["cases"] == cases
    assert found["preemptions"] > 0, "no case was hard enough"
    assert (found["counted"] > 0) is (name not in LEFT_TO_VLLM), "the twin left every step to vLLM, or none"


@pytest.fixture(scope="module")
def predicted(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """A sweep on a twin whose step times are known."""
    folder = tmp_path_factory.mktemp("twin")
    limits = {"block_size": 16, "num_gpu_blocks_override": 200, "max_num_seqs": 16, "async_scheduling": False}
    twin = Twin("a test", TIMES, {**limits, "max_num_batched_tokens": 256, "enable_prefix_caching": False})
    asked = folder / "predicted.toml"
    asked.write_text(SWEEP)
    done = engine_probe_here(
        "sweep", asked, "--set", f"engine.twin={json.dumps(msgspec.to_builtins(twin))}", "--out", folder / "out"
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Predicted" in done.stdout
    return engine_probe.load_sweep(folder / "out").runs


def recorded(run: Run) -> Recorded:
    return Recorded(run.facts, run.iterations, run.requests, run.workers)


def test_every_recording_says_that_it_is_predicted(predicted: list[Run]) -> None:
    assert len(predicted) == 3
    for run in predicted:
        assert run.status == "complete"
        assert run.facts["predicted"]["calibrated_from"] == "a test"
        assert run.telemetry.num_rows == 0


def test_steps_take_what_they_were_told(predicted: list[Run]) -> None:
    """The prices come back from the recorded tables, where attention is known exactly."""
    samples = [with_tokens(steps_alone(recorded(run), REQUESTS), run.facts, run.iterations) for run in predicted]
    for sample in samples:
        exact = sample.counts[:, 3] == 0
        assert sample.ns[exact] == pytest.approx(sample.counts[exact] @ np.array(TRUTH), abs=2)
    found = calibrated(samples)
    assert found.prices["step"].ns == pytest.approx(TRUTH[0], rel=0.01)
    assert found.prices["answer token"].ns == pytest.approx(TRUTH[4], rel=0.05)


def test_the_host_takes_its_time_for_requests_between_steps(predicted: list[Run]) -> None:
    found = request_prices([(run.iterations, run.requests) for run in predicted])
    for name, price in REQUESTS.items():
        assert found[name].ns == pytest.approx(price.ns, rel=0.02)


def test_requests_arrive_in_virtual_time(predicted: list[Run]) -> None:
    open_loop = predicted[-1]
    arrivals = np.sort(open_loop.requests["arrival_ns"].to_numpy())
    assert (arrivals[-1] - arrivals[0]) / 1e9 == pytest.approx(23 / 20, rel=0.5)
    waits = open_loop.requests["first_scheduled_ns"].to_numpy() - open_loop.requests["arrival_ns"].to_numpy()
    assert waits.min() == pytest.approx(REQUESTS["arrival"].ns, abs=1_000)  # arrivals are floats of seconds
    assert waits.max() < 2 * TIMES.prices["step"].ns + 256 * 9e3 + 1e6


def test_the_same_sweep_is_the_same_to_the_nanosecond(predicted: list[Run], tmp_path: Path) -> None:
    first = predicted[0]
    asked = tmp_path / "again.toml"
    asked.write_text(SWEEP)
    twin = json.dumps(first.facts["predicted"])
    done = engine_probe_here(
        "sweep",
        asked,
        "--set",
        f"engine.twin={twin}",
        "--set",
        'workload.arrivals=[{kind = "closed_loop", users = 2}]',
        "--out",
        tmp_path / "out",
    )
    assert done.returncode == 0, done.stderr[-3000:]
    again = engine_probe.load_sweep(tmp_path / "out").runs[0]
    since = [np.diff(run.iterations["start_ns"].to_numpy()) for run in (first, again)]
    assert np.array_equal(*since)


DRAFTS = """
speculative_config = { method = "ngram", num_speculative_tokens = 3, prompt_lookup_max = 3, \
rejection_sample_method = "synthetic", synthetic_acceptance_rates = [0.8, 0.5, 0.1] }
"""


def test_as_many_drafts_are_accepted_as_were_given(tmp_path: Path) -> None:
    """Within four standard deviations at each place, and the page says what was assumed."""
    twin = Twin("a test", StepTimes({"step": Price(1e6), "answer token": Price(1e5)}), {"num_gpu_blocks_override": 99})
    asked = tmp_path / "asked.toml"
    text = SWEEP.partition("[axes]")[0].replace("[workload]", DRAFTS + "[workload]")
    for key, number in (("num_prompts = 24", 40), ("output_len = 30", 200)):
        text = text.replace(key, f"{key.split()[0]} = {number}")
    asked.write_text(text)
    settings = [f"engine.twin={json.dumps(msgspec.to_builtins(twin))}", "workload.concurrency=4"]
    done = engine_probe_here(
        "sweep", asked, *(word for each in settings for word in ("--set", each)), "--out", tmp_path / "out"
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (run,) = engine_probe.load_sweep(tmp_path / "out").runs
    found = speculation(run.iterations, run.drafts)
    assert found is not None
    for position, share in zip(found.positions, (0.8, 0.5, 0.1), strict=True):
        expected, most = share * position.drafted, 4 * (share * (1 - share) * position.drafted) ** 0.5
        # What the last step of a request accepts beyond its answer's end is not given.
        assert expected - most - run.requests.num_rows <= position.accepted <= expected + most
    assert run.facts["engine"]["asynchronous"] is False
    step = run.iterations.filter(pc.equal(run.iterations["speculative_tokens"], 12)).slice(0, 1).to_pylist()[0]
    assert step["scheduled_tokens"] == 16
    assert step["gap_ns"] + step["schedule_ns"] + step["execute_ns"] + step["update_ns"] == 1e6 + 16 * 1e5
    page = engine_probe_here("report", run.folder)
    assert "80.0%, 50.0%, 10.0% of the drafts that reach it (given)" in " ".join(page.stdout.split())


@pytest.mark.parametrize(
    ("asynchronous", "overlaps", "pace_ns"),
    [
        (True, True, 4e6),
        pytest.param(False, True, 7e6, marks=pytest.mark.slow),
        pytest.param(True, False, 7e6, marks=pytest.mark.slow),
    ],
)
def test_asynchronous_scheduling_hides_the_host_behind_a_device_beside_it(
    asynchronous: bool, overlaps: bool, pace_ns: float, tmp_path: Path
) -> None:
    times = StepTimes({"step": Price(4e6)}, host={"step": Price(3e6)}, overlaps=overlaps)
    limits = {"block_size": 16, "num_gpu_blocks_override": 200, "max_num_seqs": 16, "async_scheduling": asynchronous}
    asked = tmp_path / "asked.toml"
    asked.write_text(SWEEP.partition("[axes]")[0].replace("num_prompts = 24", "num_prompts = 4"))
    twin = json.dumps(msgspec.to_builtins(Twin("a test", times, {**limits, "max_num_batched_tokens": 256})))
    done = engine_probe_here(
        "sweep", asked, "--set", f"engine.twin={twin}", "--set", "workload.concurrency=2", "--out", tmp_path / "out"
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (run,) = engine_probe.load_sweep(tmp_path / "out").runs
    assert run.facts["engine"]["asynchronous"] is asynchronous
    busy = step_sample(run.facts, run.iterations, run.requests).ns
    assert np.median(busy) == pytest.approx(pace_ns)
