"""Recording takes constant memory, however long the run, and long recordings open fast."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

# Rows and notes as a busy engine makes them, as fast as the writer takes them. In a process of its own, because
# the peak of a process never falls. Somebody comes or leaves every 20 iterations; every 100, a request ends.
PROGRAM = """
import json, sys, time
from pathlib import Path
import numpy as np
sys.path.insert(0, sys.argv[3])
from tests.support.recordings.recorder_rows import CLOSE, ENGINE, KV_BLOCKS, WORKERS, note, request
from engine_probe.record import writer as writer_module
from engine_probe.record.run_folder import RunFolder
from engine_probe.record.recorder import MOST_WAITING, READINGS, Recorder

def peak_mb():
    # Not ru_maxrss, which a process inherits from whoever started it.
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024

def fill(recorder, first, count):
    numbers = np.arange(first, first + count)
    rows = np.empty((count, len(READINGS)), dtype=np.int64)
    begin = numbers * 20_000_000 + random.integers(0, 100_000, count)
    rows[:, 0], rows[:, 1], rows[:, 2] = numbers, begin - random.integers(1_000, 9_000, count), begin
    rows[:, 3] = begin + random.integers(80_000, 120_000, count)
    rows[:, 4], rows[:, 5] = KV_BLOCKS - numbers // 50 % 90, rows[:, 3] + 500
    rows[:, 6] = rows[:, 3] + random.integers(15_000_000, 17_000_000, count)
    rows[:, 7] = rows[:, 6] + random.integers(40_000, 60_000, count)
    rows[:, 8], rows[:, 9], rows[:, 11] = 64, rows[:, 4], rows[:, 7] + random.integers(500, 2_500, count)
    for number in range(first + -first % 20, first + count, 20):
        running = 60 + number % 9
        recorder.changes.append(note(number, arrived_requests=1, running_requests=running, scheduled_requests=running,
                                     scheduled_tokens=running, kv_tokens_live=running * 300))
    for number in range(first + -first % 100, first + count, 100):
        recorder.finished.append((number, 1))
        recorder.requests.append(request(f"cmpl-{number}", number))
    recorder.iterations.extend(map(tuple, rows.tolist()))

random = np.random.default_rng(7)
total, out = int(sys.argv[1]), Path(sys.argv[2])
writer_module.FLUSH_SECONDS = 0.001
failures, recorder = [], Recorder()
recorder.kv_blocks = KV_BLOCKS
folder = RunFolder.create(out, ENGINE)
writer = writer_module.Writer(recorder, out, failures.append)
before, began = peak_mb(), time.monotonic()
CHUNK = MOST_WAITING // 2
for first in range(0, total, CHUNK):
    while len(recorder.iterations) > MOST_WAITING - CHUNK:
        time.sleep(0.001)
    fill(recorder, first, min(CHUNK, total - first))
recorded = time.monotonic()
tables = writer.close()
folder.finish(None, tables=tables, workers=WORKERS, close=CLOSE)
writer.drop_streams()
print(json.dumps({"failures": [str(failure) for failure in failures], "before_mb": before, "peak_mb": peak_mb(),
                  "recording_s": recorded - began, "closing_s": time.monotonic() - recorded, "tables": tables}))
"""

# Opening, and every column that a summary is made of.
READER = """
import json, sys, time
from engine_probe import load
import pyarrow.compute as pc
began = time.monotonic()
run = load(sys.argv[1])
table = run.iterations
opened = time.monotonic()
answer = {"rows": table.num_rows, "last": table["iteration"][-1].as_py(),
          "tokens": pc.sum(table["output_tokens"]).as_py(), "step": pc.quantile(table["execute_ns"], 0.5)[0].as_py(),
          "finished": pc.sum(table["finished_requests"]).as_py()}
answer |= {"requests": run.requests.num_rows, "open_s": opened - began, "all_s": time.monotonic() - began}
print(json.dumps(answer))
"""


def in_own_process(program: str, *arguments: object) -> dict[str, Any]:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.mark.lengthy
@pytest.mark.parametrize(
    ("iterations", "most_mb"), [(500_000, 85), pytest.param(10_000_000, 100, marks=pytest.mark.slow)]
)
def test_memory_does_not_grow_with_the_length_of_the_run(tmp_path: Path, iterations: int, most_mb: int) -> None:
    """The buffer is held, and what closing holds of a table at a time: 55 MB here. All columns would be 48 MB more."""
    told = in_own_process(PROGRAM, iterations, tmp_path / "run", ROOT)
    print(told)
    assert told["failures"] == []
    assert told["peak_mb"] - told["before_mb"] < most_mb
    assert told["tables"]["iterations"]["bytes"] / iterations < 48
    read = in_own_process(READER, tmp_path / "run")
    print(read)
    assert (read["rows"], read["last"]) == (iterations, iterations - 1)
    assert read["tokens"] == 64 * iterations
    assert read["finished"] == read["requests"] == iterations // 100
