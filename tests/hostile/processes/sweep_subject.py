"""The attacked sweep: `SweepRun` over points that this process's own engine measures, and what it must leave behind.

Everything of a sweep is the product's own but the process that the engine runs in: it would take ten seconds to start.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.hostile.page import LOST, TABLE
from tests.hostile.processes.subject import Teller, told_in

REQUESTS, OUTPUT_TOKENS = 12, 16
SWEEP_FILE = "asked.toml"
SWEEP = f"""
question = "Does it survive?"
[engine]
model = "tiny"
[workload]
input_len = 16
output_len = {OUTPUT_TOKENS}
num_prompts = {REQUESTS}
[axes]
"workload.concurrency" = [1, 2, 4, 6]
"""


def save_rows(folder: Path, told: Path) -> None:
    """Save a sweep's rows after each of them, as a sweep does, and tell each that is on disk."""
    from engine_probe.sweep.definition.loader import read_sweep
    from engine_probe.sweep.definition.sweep_file import points
    from engine_probe.sweep.execution.results_file import ResultsFile
    from engine_probe.sweep.results.point_results import FAILED, Unmeasured

    sweep, tell = read_sweep("smoke"), Teller(told)
    folder.mkdir()
    results = ResultsFile(folder, sweep)
    results.save()
    tell("begun")
    point = points(sweep)[0]
    for number in range(100_000):
        results.add_row(number, Unmeasured(f"row{number}", point, FAILED, "x" * 200, 3))
        tell("step")


def measure(engine: Any, folder: Path, told: Path) -> None:
    """Run the sweep in the folder, or go on with it there; tell each row that somebody heard of."""
    from engine_probe.sweep.definition.sweep_file import points
    from engine_probe.sweep.execution.runner import SweepRun
    from engine_probe.sweep.results.point_results import PointResult

    sweep, tell = _sweep(told), Teller(told)
    tell("begun")

    def listen(event: Any, group: int | None) -> None:
        if isinstance(event, PointResult):
            tell(f"row-{event.id}-{_digest(folder / 'points' / event.folder)}")

    SweepRun(sweep, folder, points(sweep), listen, _in_this_process(engine), force=False).run()
    tell("done")


def judge(folder: Path, told: Path, whole: bool) -> dict[str, Any]:
    """Every row that was told is in `sweep.json`, and its recording is what it was; at the end all are there."""
    from engine_probe import load
    from engine_probe.files.safe_read import read_json
    from engine_probe.sweep.definition.sweep_file import points

    wrong: list[tuple[str, str]] = []
    file = folder / "sweep.json"
    rows = {row["id"]: row for row in read_json(file)["points"]} if file.exists() else {}
    heard = [what.split("-")[1:] for what, _ in told_in(told) if what.startswith("row-")]
    for name, digest in heard:
        if name not in rows:
            wrong.append((LOST, f"point {name} was told to be finished and is not in sweep.json"))
        elif _digest(folder / "points" / rows[name]["folder"]) != digest:
            wrong.append((LOST, f"the recording of point {name} is not what it was"))
    asked = {point.key for point in points(_sweep(told))} if whole else set(rows)
    for name in asked:
        if rows.get(name, {}).get("status") != "complete":
            wrong.append((LOST, f"point {name} is {rows.get(name, {}).get('status', 'missing')} at the end"))
            continue
        run = load(folder / "points" / rows[name]["folder"])
        tokens = run.requests["output_tokens"].to_pylist()
        if run.status != "complete" or tokens != [OUTPUT_TOKENS] * REQUESTS:
            wrong.append((TABLE, f"point {name} is {run.status} with {len(tokens)} requests"))
        if rows[name]["output_tokens"] != sum(run.iterations["output_tokens"].to_pylist()):
            wrong.append((TABLE, f"the row of point {name} counts {rows[name]['output_tokens']} tokens"))
    return {"status": "resumed", "finished": len(rows), "wrong": wrong}


def _sweep(told: Path) -> Any:
    from engine_probe.sweep.definition.loader import read_sweep

    return read_sweep(str(told.with_name(SWEEP_FILE)))


def _digest(folder: Path) -> str:
    """Return a digest of everything that the folder holds."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _in_this_process(engine: Any) -> Any:
    from engine_probe.sweep.engine_process.messages import Task
    from engine_probe.sweep.engine_process.recorded_point import run_probed
    from engine_probe.sweep.execution.engine_run import LocalEngines
    from engine_probe.sweep.execution.folders import set_aside
    from engine_probe.sweep.execution.planned_point import Measurement
    from engine_probe.sweep.results.point_results import row_at
    from engine_probe.workload.workload_run import plan_for

    llm = SimpleNamespace(llm_engine=engine)

    class InThisProcess(LocalEngines):
        def engine(self, *_: Any) -> Any:
            return self

        def measure(self, planned: Any, show: Any) -> Measurement:
            point, folder = planned.point, planned.folder
            set_aside(folder)
            plan = plan_for(llm, point.workload.description())
            run_probed(llm, Task(point, str(folder), planned.id), plan, None, False, print)
            return Measurement(row_at(folder, point))

        def close(self) -> None:
            pass

    return InThisProcess()
