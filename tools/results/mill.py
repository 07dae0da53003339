"""Long recordings without an engine, and what it costs to look at them.

Usage: `python -m tools.results.mill 100000 1000000 FOLDER --measure`, from an environment that has engine_probe.

Each number of steps becomes a recording in FOLDER, written by the probe's own recorder and writer. Its requests are all
alike: one comes every ten steps, has 64 tokens, is given 300 and is never thrown out, so that 30 run at once. Only the
lengths of steps vary. `--measure` makes the report and the trace of each, every time in a fresh process; the files are
in the system's cache, since they were just written.
"""

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from engine_probe.errors import EngineProbeError
from engine_probe.files.new_file import check_free
from engine_probe.record.recorder import FLOWS, LEVELS, MOST_WAITING, Recorder
from engine_probe.record.run_folder import RunFolder
from engine_probe.record.schema import SCHEMAS
from engine_probe.record.writer import Writer

ROOT = Path(__file__).resolve().parents[2]
EVERY, PROMPT, ANSWER = 10, 64, 300  # steps between two arrivals; tokens
BLOCKS, BLOCK = 1_000, 16
CALL_NS, SCHEDULE_NS, UPDATE_NS, PROBE_NS = 30_000, 50_000, 100_000, 1_800  # the model takes 4 to 5 ms

# A process is asked for its own peak: what its parent is told counts the parent's memory, too.
WATCHED = """
import os, re, runpy, sys
try:
    runpy.run_module("engine_probe", run_name="__main__", alter_sys=True)
finally:
    peak = re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]
    print(sum(os.times()[:2]), peak, file=sys.stderr)
"""


@dataclass(frozen=True)
class Cost:
    """Of looking at one recording in one way."""

    what: str  # report: as a page; trace: for Perfetto
    steps: int
    requests: int
    recording_bytes: int
    seconds: list[float]  # of each round, from the start of the process to its end
    cpu_seconds: list[float]  # of all its threads
    peak_bytes: int  # resident, the most of all rounds
    written_bytes: int


def engine() -> dict[str, Any]:
    kv = {"blocks": BLOCKS, "block_size_tokens": BLOCK, "bytes": BLOCKS * BLOCK, "bytes_per_block": BLOCK, "groups": 1}
    model = {"name": "mill", "architecture": None, "dtype": "bfloat16", "max_model_len": PROMPT + ANSWER}
    return {
        "versions": {"vllm": None, "distribution": None},
        "engine": {"arguments": {}, "executor": "none", "scheduler": "mill", "asynchronous": False},
        "model": {**model, "num_layers": 1, "num_kv_heads": 1, "head_size": 1},
        "kv": {**kv, "prefix_caching": False},
        "limits": {"max_num_seqs": 256, "max_num_batched_tokens": 512, "policy": "fcfs"},
    }


def write(steps: int, path: Path, progress: Progress | None = None) -> RunFolder:
    """A recording of so many steps; requests that are not answered by then have no row."""
    folder = RunFolder.create(path, engine())
    recorder = Recorder()
    recorder.kv_blocks = BLOCKS
    failures: list[BaseException] = []
    writer = Writer(recorder, folder.path, failures.append)
    task = progress.add_task(f"{steps:,} steps", total=steps) if progress else None
    for step in mill(recorder, steps, folder.facts["clock"]["monotonic_ns"]):
        while step - recorder.taken >= MOST_WAITING and not failures:
            time.sleep(0.001)
        if failures:
            break
        if progress and task is not None and step % 5_000 == 0:
            progress.update(task, completed=step)
    tables = writer.close()
    if failures:
        raise failures[0]
    folder.finish(None, tables=tables, workers={"ranks": [], "recorded": False, "reason": "no engine ran"}, close={})
    writer.drop_streams()
    if progress and task is not None:
        progress.update(task, completed=steps)
    return folder


def mill(recorder: Recorder, steps: int, now: int) -> Iterator[int]:
    """Step after step into the recorder; yields the number of the next one."""
    model_ns = np.random.default_rng(0).integers(4_000_000, 5_000_000, size=steps).tolist()
    began: deque[tuple[int, int, int]] = deque()  # of who runs: first step, its start, end of its update
    left = 0
    for step in range(steps):
        returned, updating = now + SCHEDULE_NS, now + SCHEDULE_NS + model_ns[step]
        end = updating + UPDATE_NS
        new = step % EVERY == 0
        if new:
            began.append((step, now, end))
        if step % EVERY <= 1:  # tokens change when somebody comes, and again when its prompt is done
            recorder.changes.append((step, *note(step, began, new, left)))
            left = 0
        used = sum(blocks(step - first) for first, _, _ in began)
        given, after = len(began), used
        if step - began[0][0] == ANSWER - 1:
            first, scheduled_ns, token_ns = began.popleft()
            after, left = used - blocks(ANSWER - 1), 1
            recorder.finished.append((step, 1))
            recorder.requests.append(request(first, step, scheduled_ns, token_ns, end))
        free, free_after = BLOCKS - used, BLOCKS - after
        row = (step, now - CALL_NS, now, returned, free, returned, updating, end, given, free_after, PROBE_NS, end)
        recorder.iterations.append(row)
        now = end + CALL_NS
        yield step + 1


def blocks(age: int) -> int:
    """Of a request in the step so many after its first."""
    return -(-(PROMPT + age) // BLOCK)


def note(step: int, began: Sequence[tuple[int, int, int]], new: bool, left: int) -> tuple[int, ...]:
    prefill = PROMPT if new else 0
    running = len(began)
    counts = {
        "arrived_requests": new,
        "new_requests": new,
        "left_running_requests": left,
        "prefilling_requests": new,
        "prefill_tokens": prefill,
        "running_requests": running,
        "scheduled_requests": running,
        "scheduled_tokens": running - new + prefill,
        "kv_tokens_live": sum(PROMPT + step - first for first, _, _ in began),
    }
    return tuple(int(counts.get(name, 0)) for name in (*FLOWS, *LEVELS))


def request(first: int, last: int, scheduled_ns: int, token_ns: int, end: int) -> tuple[Any, ...]:
    row = {
        "request_id": f"r{first // EVERY}",
        "prompt_tokens": PROMPT,
        "output_tokens": ANSWER,
        "cached_tokens": 0,
        "arrival_ns": scheduled_ns - 2_000_000,
        "queued_ns": scheduled_ns - 1_000_000,
        "first_scheduled_ns": scheduled_ns,
        "first_token_ns": token_ns,
        "last_token_ns": end,
        "finished_ns": end,
        "connector_tokens": 0,
        "recomputed_tokens": 0,
        "preemptions": 0,
        "peak_kv_blocks": blocks(ANSWER - 1),
        "priority": 0,
        "finish_reason": "length",
        "first_token_iteration": first,
        "last_token_iteration": last,
        "run_starts": [first],
        "run_lengths": [ANSWER],
        "burst_iterations": [],
        "burst_tokens": [],
    }
    return tuple(row[name] for name in SCHEMAS["requests"].names)


def measured(folder: RunFolder, rounds: int) -> Iterator[Cost]:
    tables = folder.facts["tables"]
    size = sum(table["bytes"] for table in tables.values())
    of = (tables["iterations"]["rows"], tables["requests"]["rows"], size)
    for what, ending, option in (("report", "html", "--html"), ("trace", "pftrace", "--out")):
        seconds, cpu_seconds, peaks, written = [], [], [], 0
        for _ in range(rounds):
            with TemporaryDirectory() as place:
                out = Path(place) / f"out.{ending}"
                taken, cpu, peak = watched(what, str(folder.path.resolve()), option, str(out))
                seconds.append(round(taken, 3))
                cpu_seconds.append(round(cpu, 3))
                peaks.append(peak)
                written = out.stat().st_size
        yield Cost(what, *of, seconds, cpu_seconds, max(peaks), written)


def watched(*words: str) -> tuple[float, float, int]:
    """Seconds, seconds of processor, and the peak of the resident memory of one command."""
    before = time.perf_counter()
    ran = subprocess.run([sys.executable, "-c", WATCHED, *words], cwd=ROOT, capture_output=True, text=True)
    taken = time.perf_counter() - before
    if ran.returncode:
        raise SystemExit(f"engine_probe {' '.join(words)} ended with {ran.returncode}:\n{ran.stderr}")
    cpu, peak = ran.stderr.split()[-2:]
    return taken, float(cpu), int(peak) * 1024


def table(costs: Sequence[Cost]) -> Table:
    shown = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for number, title in enumerate(("", "steps", "requests", "recorded", "seconds", "CPU s", "peak", "written")):
        shown.add_column(title, justify="right" if number else "left", no_wrap=True)
    for cost in costs:
        seconds = f"{median(cost.seconds):.1f} ({min(cost.seconds):.1f}-{max(cost.seconds):.1f})"
        sizes = [f"{size / 1e6:,.0f} MB" for size in (cost.recording_bytes, cost.peak_bytes, cost.written_bytes)]
        cpu = f"{median(cost.cpu_seconds):.1f}"
        shown.add_row(cost.what, f"{cost.steps:,}", f"{cost.requests:,}", sizes[0], seconds, cpu, *sizes[1:])
    return shown


def as_json(costs: Sequence[Cost], load: tuple[float, float, float], remark: str) -> str:
    facts = {
        "command": shlex.join(["python", "tools/results/mill.py", *sys.argv[1:]]),
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load_average": {"before": load, "after": os.getloadavg()},  # of 1, 5 and 15 minutes: what else ran
        "remark": remark,
        "costs": [asdict(cost) for cost in costs],
    }
    return json.dumps(facts, indent=2) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("steps", nargs="+", type=int)
    parser.add_argument("folder", type=Path, help="each recording becomes FOLDER/STEPS")
    parser.add_argument("--measure", action="store_true", help="make the report and the trace of each")
    parser.add_argument("--rounds", type=int, default=3, help="how often [3]")
    parser.add_argument("--json", type=Path, help="write every figure to this new file, too; implies --measure")
    parser.add_argument("--remark", default="", help="what else is to be known of the machine, for the JSON")
    asked = parser.parse_args()
    if min(*asked.steps, asked.rounds) < 1:
        parser.error("steps and rounds are counted from 1")
    load, costs = os.getloadavg(), []
    try:
        check_free(asked.json)
        with Progress(console=Console(stderr=True)) as progress:
            made = [write(steps, asked.folder / str(steps), progress) for steps in asked.steps]
            if asked.measure or asked.json:
                task = progress.add_task("report and trace", total=2 * len(made))
                for folder in made:
                    for cost in measured(folder, asked.rounds):
                        costs.append(cost)
                        progress.advance(task)
    except EngineProbeError as error:
        raise SystemExit(str(error)) from None
    if costs:
        Console(highlight=False).print(table(costs))
    if asked.json:
        asked.json.write_text(as_json(costs, load, asked.remark))


if __name__ == "__main__":
    main()
