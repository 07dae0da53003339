"""`engine_probe doctor --deep`: starts an engine, records an answer, and opens the recording."""

import shutil
import tempfile
import time
from pathlib import Path

from engine_probe.commands.doctor.check_result import FINE, PROBLEM, Check
from engine_probe.errors import EngineProbeError, UnavailableError

MODEL = "tiny"
PROMPT_TOKENS, ANSWER_TOKENS = 16, 4
START_SECONDS, POINT_SECONDS = 900.0, 120.0  # timeouts


def check_engine() -> list[Check]:
    """Run a whole measurement with the smallest model; after a failure the log is kept."""
    folder = Path(tempfile.mkdtemp(prefix="engine_probe-doctor-"))
    checks = [*measured(folder)]
    if all(check.state == FINE for check in checks):
        checks += opened(folder / "recording")
    if all(check.state == FINE for check in checks):
        shutil.rmtree(folder, ignore_errors=True)
    return checks


def measured(folder: Path) -> list[Check]:
    """Start the engine and let it answer, and show the progress."""
    from engine_probe.engine.start_phases import Started
    from engine_probe.sweep.definition.sweep_file import EngineSection, Point
    from engine_probe.sweep.definition.workload_section import WorkloadSection
    from engine_probe.sweep.engine_process.messages import Began
    from engine_probe.sweep.execution.engine_run import measure_point
    from engine_probe.sweep.execution.events import Event
    from engine_probe.sweep.execution.folders import LOG_FILE
    from engine_probe.sweep.progress.screens import screen_of
    from engine_probe.sweep.results.point_results import Unmeasured

    point = Point(EngineSection(MODEL), WorkloadSection(PROMPT_TOKENS, ANSWER_TOKENS, concurrency=1), label=MODEL)
    checks: list[Check] = []
    began = time.monotonic()

    def show(event: Event) -> None:
        nonlocal began
        if isinstance(event, Started):
            phases = ", ".join(event.words[1:])
            checks.append(Check(FINE, "engine", f"{MODEL} started in {event.seconds:.0f} s: {phases}"))
        if isinstance(event, Began):
            began = time.monotonic()
        screen.show(event)

    try:
        with screen_of(point) as screen:
            row = measure_point(point, folder / "recording", show, True, START_SECONDS, POINT_SECONDS)
        if isinstance(row, Unmeasured):
            raise UnavailableError(row.reason)
        took = time.monotonic() - began
        found = f"{ANSWER_TOKENS} tokens, warmed up, generated and recorded in {took:.1f} s"
        checks.append(Check(FINE, "generation", found))
    except EngineProbeError as error:
        broken = "generation" if checks else "engine"
        return [*checks, Check(PROBLEM, broken, str(error), f"fix what the error names; see {folder / LOG_FILE}")]
    return checks


def opened(folder: Path) -> list[Check]:
    """Open the recording as a report does."""
    from engine_probe.record.run_folder import COMPLETE
    from engine_probe.recordings.run import load

    began = time.monotonic()
    try:
        run = load(folder)
        found = (
            f"{run.status}, {run.iterations.num_rows} iterations, opened in {(time.monotonic() - began) * 1000:.0f} ms"
        )
    except EngineProbeError as error:
        return [Check(PROBLEM, "recording", str(error), f"look at it in {folder}")]
    if run.status != COMPLETE or not run.iterations.num_rows:
        return [Check(PROBLEM, "recording", found, f"`engine_probe report {folder}` says why")]
    return [Check(FINE, "recording", found)]
