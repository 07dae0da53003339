"""The engine's process may say nothing, die or be refused: the person hears one sentence, and where to look."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine_probe.engine import failures
from engine_probe.engine.start_phases import Started, Starting
from engine_probe.errors import EngineProbeError
from engine_probe.sweep.definition.sweep_file import SweepFile, points
from engine_probe.sweep.engine_process import process
from engine_probe.sweep.engine_process.messages import Began, StartStep
from engine_probe.sweep.execution.engine_run import LocalEngines
from engine_probe.sweep.execution.events import Event
from engine_probe.sweep.execution.runner import SweepRun
from engine_probe.sweep.results.point_results import Unmeasured
from tests.support.sweeps.sweep_events import sweep_events


def rows(sweep: SweepFile, folder: Path) -> list[Unmeasured]:
    return [event for event in sweep_events(sweep, folder) if isinstance(event, Unmeasured)]


def test_a_killed_engine_is_told_with_the_last_error_of_its_log(
    sweep: SweepFile, engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "VMSTAT", tmp_path / "none")
    said = "(EngineCore pid=7) ERROR 11-21 08:08:06 [core.py:1] RuntimeError: no more memory"
    engine(f"print('{said}'); print('bye', flush=True); os.kill(os.getpid(), 9)")
    lost = rows(sweep, tmp_path)
    assert len(lost) == len(points(sweep))
    assert {row.reason for row in lost} == {
        "the engine's process ended by signal SIGKILL (out of memory?): "
        f'"RuntimeError: no more memory"; see {tmp_path}/engine.log'
    }
    assert {(row.status, row.exit_code) for row in lost} == {("failed", 3)}


@pytest.mark.parametrize(
    ("kills", "said"),
    [
        (7, "SIGKILL (killed by another process, not by the kernel's OOM killer): its log names no error"),
        (8, "(meanwhile the kernel killed a process because memory ran out): its log names no error: lower max_num_"),
        (9, "(meanwhile the kernel killed 2 processes because memory ran out): its log names no error: lower max_num_"),
    ],
)
def test_whether_the_kernel_killed_it_for_memory_is_read_off_its_counter(
    sweep: SweepFile, engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kills: int, said: str
) -> None:
    counter = tmp_path / "vmstat"
    counter.write_text("pgfault 3\noom_kill 7\n")
    monkeypatch.setattr(failures, "VMSTAT", counter)
    engine(f"open({str(counter)!r}, 'w').write('pgfault 3\\noom_kill {kills}\\n'); os.kill(os.getpid(), 9)")
    assert said in rows(sweep, tmp_path)[0].reason


@pytest.mark.parametrize(
    "last",
    ["cannot allocate memory for thread-local data: ABORT", "terminate called after throwing of std::bad_alloc"],
)
def test_an_engine_that_gives_up_for_memory_says_what_to_lower(
    sweep: SweepFile, engine, tmp_path: Path, last: str
) -> None:
    engine(f"print({last!r}, flush=True); sys.exit(127)")
    reason = rows(sweep, tmp_path)[0].reason
    assert f'with exit code 127, out of memory: "{last}": lower max_num_batched_tokens or max_num_seqs' in reason


def test_an_engine_that_says_nothing_is_told_too(sweep: SweepFile, engine, tmp_path: Path) -> None:
    engine("sys.exit(5)")
    assert "with exit code 5: its log names no error" in rows(sweep, tmp_path)[0].reason


@pytest.mark.parametrize("code", [2, 3])
def test_what_the_engine_refuses_keeps_its_exit_code(sweep: SweepFile, engine, tmp_path: Path, code: int) -> None:
    engine(f"""tell('{{"type":"Failed","sentence":"no such thing","exit_code":{code}}}'); sys.exit({code})""")
    lost = rows(sweep, tmp_path)
    assert lost[0].reason == f"no such thing; all the engine said is in {tmp_path}/engine.log"
    assert {row.exit_code for row in lost} == {code}


def test_an_engine_that_never_began_is_started_once(sweep: SweepFile, engine, tmp_path: Path) -> None:
    engine("sys.exit(5)")
    rows(sweep, tmp_path)
    assert [path.name for path in tmp_path.glob("*.log")] == ["engine.log"]


def test_a_point_that_ends_its_engine_is_a_row_and_the_next_gets_a_new_one(
    sweep: SweepFile, engine, tmp_path: Path
) -> None:
    every_time_another = "print('Error:', *('abcdefghij'[int(digit)] for digit in str(os.getpid())), flush=True)"
    engine(f"""tell('{{"type":"Began","number":0}}'); {every_time_another}; sys.exit(1)""")
    lost = rows(sweep, tmp_path)
    assert [row.id for row in lost] == [point.key for point in points(sweep)]
    assert len(list(tmp_path.glob("*.log"))) == len(points(sweep))
    saved = json.loads((tmp_path / "sweep.json").read_text())["points"]
    assert [row["status"] for row in saved] == ["failed"] * len(points(sweep))


def test_a_point_that_hangs_is_given_up(sweep: SweepFile, engine, tmp_path: Path) -> None:
    engine("""tell('{"type":"Began","number":0}'); import time; time.sleep(60)""")
    hasty = msgspec.structs.replace(sweep, point_seconds=0.1, axes={"workload.concurrency": [1, 2]})
    assert [row.reason for row in rows(hasty, tmp_path)] == ["given up after 0.1 s (point_seconds)"] * 2


@pytest.mark.parametrize("doing", ["pass", """tell('{"type":"StartStep","text":"loading"}')"""])
def test_an_engine_that_hangs_at_its_start_is_given_up_once(
    sweep: SweepFile, engine, tmp_path: Path, doing: str
) -> None:
    """Silent, or saying again and again what it is at, faster than the ticks."""
    engine(f"import time\nwhile True: {doing}; time.sleep(0.01)")
    hasty = msgspec.structs.replace(sweep, start_seconds=0.3, axes={"workload.concurrency": [1, 2]})
    told = "given up after 0.3 s without a first point (start_seconds); all the engine said is in "
    assert [row.reason for row in rows(hasty, tmp_path)] == [f"{told}{tmp_path}/engine.log"] * 2
    assert [path.name for path in tmp_path.glob("*.log")] == ["engine.log"]


@pytest.mark.lengthy
def test_an_engine_that_has_begun_a_point_has_started(sweep: SweepFile, engine, tmp_path: Path) -> None:
    engine("""tell('{"type":"Began","number":0}'); import time; time.sleep(0.5); sys.exit(5)""")
    hasty = msgspec.structs.replace(sweep, start_seconds=0.3, axes={"workload.concurrency": [1]})
    assert "with exit code 5" in rows(hasty, tmp_path)[0].reason


@pytest.mark.lengthy
def test_while_an_engine_starts_its_phases_are_told(sweep: SweepFile, engine, tmp_path: Path) -> None:
    line = "INFO [cpu_model_runner.py:68] Starting to load model tiny..."
    said = """tell('{"type":"StartStep","text":"converting"}'); import time; time.sleep(0.3)"""
    began = """time.sleep(0.3); tell('{"type":"Began","number":0}'); sys.exit(1)"""
    engine(f"{said}; print('{line}', flush=True); {began}")
    one = msgspec.structs.replace(sweep, axes={"workload.concurrency": [1]})
    seen = sweep_events(one, tmp_path)
    assert seen[0] == StartStep("starting vLLM on smollm2")
    phases = [event.phase for event in seen if isinstance(event, Starting)]
    assert list(dict.fromkeys(phase.name for phase in phases))[-2:] == ["converting", "loading weights"]
    loading = [phase.seconds for phase in phases if phase.name == "loading weights"]
    assert loading == sorted(loading)
    started = next(event for event in seen if isinstance(event, Started))
    assert [phase.name for phase in started.phases] == ["importing vLLM", "converting", "loading weights"]
    assert sum(phase.seconds for phase in started.phases) == pytest.approx(started.seconds)


def test_leaving_early_ends_the_engine(sweep: SweepFile, engine, tmp_path: Path) -> None:
    engine("""tell('{"type":"StartStep","text":"%d"}' % os.getpid()); import time; time.sleep(60)""")
    processes: list[int] = []

    def interrupt(event: Event, group: int | None) -> None:
        if isinstance(event, Starting) and event.phase.name.isdigit():
            processes.append(int(event.phase.name))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        SweepRun(sweep, tmp_path, points(sweep), interrupt, LocalEngines(), force=False).run()
    with pytest.raises(ProcessLookupError):
        os.kill(processes[0], 0)


def test_a_text_that_takes_too_long_is_given_up_although_it_goes_on(sweep: SweepFile, engine, tmp_path: Path) -> None:
    """Its progress comes faster than the ticks."""
    began = '{"type":"Began","number":0}'
    scoring = '{"type":"Scoring","windows":9000,"done":1,"tokens":10,"nll":20.0,"seconds":0.1}'
    engine(f"import time; tell('{began}')\nwhile True: tell('{scoring}'); time.sleep(0.01)")
    hasty = msgspec.structs.replace(sweep, point_seconds=0.2, axes={"workload.concurrency": [1]})
    assert [row.reason for row in rows(hasty, tmp_path)] == ["given up after 0.2 s (point_seconds)"]


def test_what_an_engine_sends_between_a_tick_and_its_end_is_received(
    engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine("""tell('{"type":"Began","number":3}')""")
    started, real = process.EngineProcess(tmp_path / "log"), process.select.select

    def nothing_until_its_end(*descriptors: Any) -> Any:
        monkeypatch.setattr(process.select, "select", real)
        started.wait_for_end()
        return [], [], []

    monkeypatch.setattr(process.select, "select", nothing_until_its_end)
    assert started.receive(0.05) == Began(3)
    with pytest.raises(EngineProbeError):
        started.receive(0.05)
    started.end()
