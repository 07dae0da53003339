"""`engine_probe sweep` end to end: a real engine in a process of its own, and what a person gets to see."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from engine_probe import load
from engine_probe.analysis.statistics.settled_rate import settled_rate
from engine_probe.commands.options.result_location import holds_steps
from engine_probe.sweep.definition.loader import read_sweep
from engine_probe.sweep.definition.sweep_file import points
from tests.support.engines.forked_command import engine_probe_here
from tests.support.engines.forked_engine import clean_environment
from tests.support.processes.command import ENGINE_SECONDS, engine_probe
from tests.support.processes.waiting import wait_until

SWEEP = """
question = "Does it run?"
[engine]
model = "tiny"
[engine.arguments]
block_size = 32
num_gpu_blocks_override = 25
max_model_len = 256
enable_prefix_caching = false
enforce_eager = true
[workload]
input_len = 32
output_len = 64
hold = false
[axes]
"workload.concurrency" = [1, 8, 16]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sweep")
    (path / "mine.toml").write_text(SWEEP)
    narrow = "max_model_len = 256\nmax_num_batched_tokens = 8\nmax_num_seqs = 16"  # more requests than tokens in a step
    (path / "narrow.toml").write_text(SWEEP.replace("max_model_len = 256", narrow))
    (path / "endless.toml").write_text(SWEEP.replace("[1, 8, 16]", "[2000]"))
    return path


def sweep(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return engine_probe("sweep", *words, cwd=folder)


@pytest.fixture(scope="module")
def done(folder: Path) -> subprocess.CompletedProcess[str]:
    found = engine_probe_here("sweep", "mine.toml", "--out", "out", cwd=folder)
    assert found.returncode == 0, found.stderr
    return found


def test_progress_goes_to_the_error_stream_and_the_result_to_the_other(
    done: subprocess.CompletedProcess[str],
) -> None:
    assert re.search(r"^point 2 of 3(, about \d+ s left)?: concurrency 8$", done.stderr, re.MULTILINE)
    assert "from 16 on, some waited for blocks or were preempted" in " ".join(done.stdout.split())


def test_every_figure_is_in_the_recordings(done: subprocess.CompletedProcess[str], folder: Path) -> None:
    result = json.loads((folder / "out/sweep.json").read_text())
    assert [point["point"]["workload"]["concurrency"] for point in result["points"]] == [1, 8, 16]
    for point in result["points"]:
        run = load(folder / "out/points" / point["folder"])
        assert run.status == point["status"] == "complete"
        assert sum(run.iterations["output_tokens"].to_pylist()) == point["output_tokens"]
        assert point["output_tokens"] == point["point"]["workload"]["concurrency"] * 64
        assert sum(run.requests["recomputed_tokens"].to_pylist()) == point["recomputed_tokens"]
        assert run.preemptions.num_rows == point["preemptions"]
        ttft = run.summary().latencies[0]  # as the report says it
        assert point["median_ttft_seconds"] == pytest.approx(ttft.percentiles_ns[50] / 1e9)
        assert run.requests.num_rows == point["point"]["workload"]["concurrency"]
        assert sorted(run.answers["request_id"].to_pylist()) == sorted(run.requests["request_id"].to_pylist())
        assert set(run.answers["prompt_id"].to_pylist()) == {str(number) for number in range(run.requests.num_rows)}
        assert set(run.answers["outcome"].to_pylist()) == {"answered"}
        assert run.answers["token_ids"].null_count == run.requests.num_rows


def test_a_second_time_into_the_same_folder_is_refused(done: subprocess.CompletedProcess[str], folder: Path) -> None:
    again = engine_probe_here("sweep", "mine.toml", "--out", "out", cwd=folder)
    assert again.returncode == 2
    assert again.stderr.startswith("engine_probe: out already holds something and is never overwritten")


def test_what_vllm_refuses_ends_in_one_sentence_that_names_the_log(folder: Path) -> None:
    refused = engine_probe_here("sweep", "narrow.toml", "--out", "narrow", cwd=folder)
    assert refused.returncode == 2
    last = refused.stderr.splitlines()[-1]
    assert last.startswith("engine_probe: vLLM refuses the engine arguments for tiny: ")
    assert last.endswith("all the engine said is in narrow/engine.log")


def descendants(process: int) -> list[int]:
    """The processes that it started, and those that they did."""
    listed = "".join(path.read_text() for path in Path(f"/proc/{process}/task").glob("*/children"))
    return [one for child in map(int, listed.split()) for one in (child, *descendants(child))]


def test_an_interrupted_sweep_ends_its_engine_and_stays_readable(folder: Path) -> None:
    """What vLLM says is in a file, and nowhere else."""
    command = [sys.executable, "-m", "engine_probe", "sweep", "endless.toml", "--out", "endless"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, cwd=folder, env=clean_environment(), stdout=pipe, stderr=pipe, text=True)
    point = folder / "endless/points"
    wait_until(lambda: process.poll() is not None or any(map(holds_steps, point.glob("*"))))
    engines = descendants(process.pid)
    assert engines
    process.send_signal(signal.SIGINT)
    shown, said = process.communicate(timeout=ENGINE_SECONDS)
    assert process.returncode == 130, said
    assert "interrupted" in said
    assert "INFO" not in shown + said
    assert "INFO" in (folder / "endless/engine.log").read_text()
    assert load(next(point.iterdir())).status == "cut"
    assert not [engine for engine in engines if Path(f"/proc/{engine}").exists()]


@pytest.mark.slow
def test_a_sweep_killed_in_the_middle_goes_on_where_it_was(folder: Path) -> None:
    slow = ["slow.toml", "--set", "workload.output_len=200"]
    (folder / "slow.toml").write_text(SWEEP.replace("[1, 8, 16]", "[2, 3, 200]"))
    process = subprocess.Popen(
        [sys.executable, "-m", "engine_probe", "sweep", *slow, "--out", "killed"], cwd=folder, stderr=subprocess.DEVNULL
    )
    result = folder / "killed/sweep.json"
    wait_until(lambda: result.is_file() and len(json.loads(result.read_text())["points"]) == 2)
    wait_until(lambda: len(list(folder.glob("killed/points/*/iterations.arrows"))) == 1)  # the third point has begun
    process.kill()
    process.wait()
    kept = {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("killed/points/*/iterations.arrow")}
    assert len(kept) == 2
    again = sweep(folder, *slow, "--resume", "killed")
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("measured before") == 2
    rows = json.loads(result.read_text())["points"]
    assert [row["status"] for row in rows] == ["complete"] * 3
    assert [row["point"]["workload"]["concurrency"] for row in rows] == [2, 3, 200]
    assert {name: (folder / f"killed/points/{name}/iterations.arrow").stat().st_mtime_ns for name in kept} == kept
    assert len(list(folder.glob("killed/points/*.cut-1"))) == 1  # what was cut is kept
    undisturbed = points(read_sweep(str(folder / "slow.toml"), ["workload.output_len=200"]))
    assert [row["id"] for row in rows] == [point.key for point in undisturbed]


@pytest.mark.slow
def test_tensor_parallel_one_against_two(folder: Path) -> None:
    """Each engine in its turn, on a core of its own per rank."""
    (folder / "parallel.toml").write_text(
        SWEEP.replace("[axes]", '[axes]\n"engine.arguments.tensor_parallel_size" = [1, 2]')
    )
    done = sweep(folder, "parallel.toml", "--out", "parallel")
    assert done.returncode == 0, done.stderr
    rows = json.loads((folder / "parallel/sweep.json").read_text())["points"]
    ranks = [len(load(folder / "parallel/points" / row["folder"]).facts["workers"]["ranks"]) for row in rows]
    assert ranks == [1, 1, 1, 2, 2, 2]
    assert "tensor_parallel_size 2" in done.stdout


@pytest.mark.slow
def test_two_sweeps_are_measured_in_turns_and_compared(folder: Path) -> None:
    """Four sequences at most make the requests that wait for one wait longer, whatever the machine."""
    few = ["--set", "workload.output_len=16", "--set", "workload.concurrency=[2, 16]"]
    done = sweep(
        folder, "mine.toml", *few, "--against", "engine.arguments.max_num_seqs=4", "--rounds", "2", "--out", "both"
    )
    assert done.returncode == 0, done.stderr
    asked = {path.name: json.loads((path / "sweep.json").read_text())["points"] for path in (folder / "both").iterdir()}
    assert sorted(asked) == ["after-1", "after-2", "before-1", "before-2"]
    begun = {}
    for name, rows in asked.items():
        runs = [load(folder / "both" / name / "points" / row["folder"]) for row in rows]
        limits = [run.facts["limits"]["max_num_seqs"] for run in runs]
        assert [limit == 4 for limit in limits] == [name.startswith("after")] * 2
        begun[name] = min(run.facts["clock"]["wall_ns"] for run in runs)
    assert sorted(begun, key=lambda name: begun[name]) == ["before-1", "after-1", "after-2", "before-2"]
    assert re.search(r"max_num_seqs \d+ → 4", done.stdout)
    assert "All 2 points together" in done.stdout


STOPPING = """
[stop]
seconds = 300
steady = { within = 0.5, after_seconds = 1 }
saturated = { growth = 50, levels = 1 }
[warm_up]
requests = 3
"""


@pytest.mark.slow
def test_a_point_ends_when_it_is_steady_and_the_axis_when_it_is_saturated(folder: Path) -> None:
    """With tolerances that any machine meets: whether it stops is tested here, how well it judges elsewhere.

    A rate is judged from 30 s on, at two checks in a row, and each answer's 64 tokens must have come twice since it
    became level.
    """
    text = SWEEP.replace("output_len = 64", "output_len = 64\nnum_prompts = 20000").replace("[1, 8, 16]", "[8, 9, 10]")
    (folder / "stopping.toml").write_text(text + STOPPING)
    done = sweep(folder, "stopping.toml", "--out", "stopping")
    assert done.returncode == 0, done.stderr
    result = json.loads((folder / "stopping/sweep.json").read_text())
    first, second, last = result["points"]
    assert last["status"] == "skipped"
    assert last["reason"] == "skipped: saturated at concurrency 8 (stop.saturated)"
    assert "concurrency 10: skipped: saturated at concurrency 8" in done.stderr
    for row in (first, second):
        run = load(folder / "stopping/points" / row["folder"])
        outcome = run.facts["outcome"]
        assert outcome["why"] == "steady"
        assert outcome["never_handed_over"] > 0
        assert run.requests["finish_reason"].to_pylist().count("abort") == outcome["aborted"] > 0
        assert run.facts["warm_up"]["answered"] >= 3
        assert run.facts["stop"]["steady"]["within"] == 0.5
    rate, run = first["driven"]["steady"]["rate"], load(folder / "stopping/points" / first["folder"])
    ends = run.iterations["start_ns"].to_numpy() + sum(
        run.iterations[name].to_numpy() for name in ("schedule_ns", "execute_ns", "update_ns")
    )
    seen = ends <= rate["to_ns"]
    again = settled_rate(
        run.iterations["start_ns"][0].as_py(), ends[seen], run.iterations["output_tokens"].to_numpy()[seen]
    )
    assert again is not None
    assert again.per_second == pytest.approx(rate["output_tokens_per_s"], rel=1e-6)
    assert again.half_width == pytest.approx(rate["half_width"], rel=1e-6)
    assert result["between"]["points"] == 1
    assert "Between points the engine was idle" in done.stdout
    resumed = sweep(folder, "stopping.toml", "--resume", "stopping")
    assert resumed.stderr.count("measured before") == 2
    assert json.loads((folder / "stopping/sweep.json").read_text())["points"] == result["points"]


def test_points_without_the_probe_leave_the_drivers_clock_and_are_not_measured_twice(folder: Path) -> None:
    text = SWEEP.replace('"workload.concurrency" = [1, 8, 16]', "probe = [true, false]")
    (folder / "probe_cost.toml").write_text("repeats = 2\ninterleave = true\n" + text)
    done = engine_probe_here("sweep", "probe_cost.toml", "--out", "probe_cost", cwd=folder)
    assert done.returncode == 0, done.stderr
    rows = json.loads((folder / "probe_cost/sweep.json").read_text())["points"]
    assert [(folder / "probe_cost/points" / row["folder"] / "run.json").is_file() for row in rows] == [True, False] * 2
    assert {row["driven"]["answered_tokens"] for row in rows} == {64}
    assert {row["driven"]["steps"] for row in rows} == {64}
    assert all(row["driven"]["ended_ns"] > row["driven"]["started_ns"] for row in rows)
    assert "2 pairs are too few for a confidence interval" in " ".join(done.stdout.split())
    resumed = engine_probe_here("sweep", "probe_cost.toml", "--resume", "probe_cost", cwd=folder)
    assert resumed.stderr.count("measured before") == 4


PRIVATE = ["unshare", "--user", "--map-root-user", "--mount"]  # a mount that only the command behind it sees


def can_mount(folder: Path) -> bool:
    command = [*PRIVATE, "mount", "-t", "tmpfs", "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


# It fills a disk once two points of its sweep are complete, and again whenever a file is removed from it: what room
# that gives must be gone before the next row is written.
FILL = """
import sys, time
from pathlib import Path

disk = Path(sys.argv[1])
rows = disk / "out" / "sweep.json"
while not rows.exists() or rows.read_text().count('"complete"') < 2:
    time.sleep(0.01)
with open(disk / "filler", "ab", buffering=0) as filler:
    while True:
        try:
            filler.write(bytes(4096))
        except OSError:
            time.sleep(0.0002)
"""


@pytest.mark.slow
def test_a_disk_that_fills_ends_the_sweep_with_a_sentence_and_keeps_what_is_finished(
    folder: Path, tmp_path: Path
) -> None:
    disk, kept = tmp_path / "disk", tmp_path / "kept"
    disk.mkdir()
    if not can_mount(disk):
        pytest.skip("no small disk can be made here: user namespaces are switched off")
    (folder / "full.toml").write_text(SWEEP.replace("[1, 8, 16]", "[1, 2, 300]"))
    words = f"{sys.executable} -m engine_probe sweep {folder}/full.toml --out {disk}/out"
    (tmp_path / "fill.py").write_text(FILL)
    script = f"""
mount -t tmpfs -o size=4m tmpfs {disk}
{sys.executable} {tmp_path}/fill.py {disk} &
filler=$!
{words}
code=$?
kill $filler
cp -r {disk}/out {kept}
exit $code
"""
    command = [*PRIVATE, "sh", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=ENGINE_SECONDS, check=False)
    assert done.returncode == 3, done.stderr
    assert "No space left on device" in done.stderr.splitlines()[-1]
    assert "every finished point is kept, continue with --resume" in done.stderr
    rows = json.loads((kept / "sweep.json").read_text())["points"]
    whole = [row["folder"] for row in rows if row["status"] == "complete"]
    assert len(whole) == 2
    assert {load(kept / "points" / point).status for point in whole} == {"complete"}
