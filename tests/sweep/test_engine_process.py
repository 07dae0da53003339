"""The engine's process may say nothing, die or be refused: the person hears one sentence, and where to look."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine_probe.errors import InputError, UnavailableError
from engine_probe.sweep import run
from engine_probe.sweep.messages import Said
from engine_probe.sweep.plan import SweepFile, read_sweep

TELL = "import os, sys; pipe = int(sys.argv[3]); tell = lambda text: os.write(pipe, text.encode() + b'\\n'); "


@pytest.fixture
def sweep() -> SweepFile:
    return read_sweep("smoke")


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> object:
    """Lets these lines be the engine's process."""
    real = subprocess.Popen

    def plant(lines: str) -> None:
        def popen(command: list[str], **how: object) -> subprocess.Popen[bytes]:
            return real([sys.executable, "-c", TELL + lines, *command[1:]], **how)

        monkeypatch.setattr(run.subprocess, "Popen", popen)

    monkeypatch.setattr(run, "TICK_SECONDS", 0.05)
    return plant


def test_a_killed_engine_is_told_with_the_last_error_of_its_log(sweep: SweepFile, engine, tmp_path: Path) -> None:
    said = "(EngineCore pid=7) ERROR 11-21 08:08:06 [core.py:1] RuntimeError: no more memory"
    engine(f"print('{said}'); print('bye', flush=True); os.kill(os.getpid(), 9)")
    with pytest.raises(UnavailableError) as caught:
        list(run.run_sweep(sweep, tmp_path))
    assert str(caught.value) == (
        "the engine's process ended by signal SIGKILL (out of memory?) after 0 of 7 points: "
        f'"RuntimeError: no more memory"; see {tmp_path}/engine.log'
    )


def test_an_engine_that_says_nothing_is_told_too(sweep: SweepFile, engine, tmp_path: Path) -> None:
    engine("sys.exit(5)")
    with pytest.raises(UnavailableError, match="with exit code 5 after 0 of 7 points: its log names no error"):
        list(run.run_sweep(sweep, tmp_path))


@pytest.mark.parametrize(("code", "kind"), [(2, InputError), (3, UnavailableError)])
def test_what_the_engine_refuses_keeps_its_exit_code(
    sweep: SweepFile, engine, tmp_path: Path, code: int, kind: type[Exception]
) -> None:
    engine(f"""tell('{{"type":"Failed","sentence":"no such thing","exit_code":{code}}}'); sys.exit({code})""")
    with pytest.raises(kind, match=r"^no such thing; all the engine said is in .*engine.log$"):
        list(run.run_sweep(sweep, tmp_path))


def test_while_it_is_silent_seconds_pass(sweep: SweepFile, engine, tmp_path: Path) -> None:
    engine("""tell('{"type":"Said","text":"starting"}'); import time; time.sleep(0.5); sys.exit(1)""")
    seen: list[object] = []
    with pytest.raises(UnavailableError):
        seen.extend(run.run_sweep(sweep, tmp_path))
    assert Said("starting") in seen
    assert None in seen


def test_leaving_early_ends_the_engine(sweep: SweepFile, engine, tmp_path: Path) -> None:
    engine("""tell('{"type":"Said","text":"%d"}' % os.getpid()); import time; time.sleep(60)""")
    events = run.run_sweep(sweep, tmp_path)
    said = next(event for event in events if isinstance(event, Said))
    events.close()
    with pytest.raises(ProcessLookupError):
        os.kill(int(said.text), 0)
