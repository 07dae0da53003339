"""A death by signal names what was running, and its likely cause."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from engine_probe.sweep.engine_process import exit_reason
from engine_probe.sweep.engine_process.exit_reason import engine_ended, last_error, likely_cause, running, worker_crash
from engine_probe.sweep.engine_process.process import ENGINE_ENVIRONMENT

VLLM_CRASH = """INFO loading
Fatal Python error: Illegal instruction

Current thread 0x00007f0 (most recent call first):
  File "/opt/lib/python3.11/site-packages/torch/_ops.py", line 1208 in __call__
  File "/opt/lib/python3.11/site-packages/vllm/v1/attention/backends/cpu_attn.py", line 377 in forward
  File "/opt/lib/python3.11/site-packages/vllm/attention.py", line 12 in forward_with_ValueError
Extension modules: numpy._core
"""
IN_AN_OPENMP_THREAD = """Fatal Python error: Bus error

Thread 0x00007f2 (most recent call first):
  File "/opt/lib/python3.11/threading.py", line 331 in wait

Thread 0x00007f0 (most recent call first):
  File "/opt/lib/python3.11/site-packages/vllm/v1/core/block_pool.py", line 12 in get
"""


@pytest.mark.parametrize(
    ("log", "place"),
    [
        (VLLM_CRASH, "vllm/v1/attention/backends/cpu_attn.py forward"),
        (IN_AN_OPENMP_THREAD, "vllm/v1/core/block_pool.py get"),
        (IN_AN_OPENMP_THREAD.replace("vllm", "other"), "other/v1/core/block_pool.py get"),
        (IN_AN_OPENMP_THREAD + VLLM_CRASH, "vllm/v1/attention/backends/cpu_attn.py forward"),
        (
            'Fatal Python error: Aborted\n\nThread 0x1 (most recent call first):\n  File "a.py", line 1 in go\n',
            "a.py go",
        ),
        ("Fatal Python error: Aborted\n\nCurrent thread 0x1 (most recent call first):\n  <no Python frame>\n", ""),
        ('ERROR: no such thing\n  File "a.py", line 1 in go\n', ""),
    ],
)
def test_what_was_running(log: str, place: str) -> None:
    assert running(log) == place


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGILL, "signal SIGILL while running <string> forward, likely "),
        (signal.SIGSEGV, "signal SIGSEGV while running <string> forward, likely a fault in compiled code"),
        (signal.SIGBUS, "signal SIGBUS while running <string> forward, likely /dev/shm or the disk is full"),
        (signal.SIGABRT, 'signal SIGABRT while running <string> forward: "RuntimeError: the last words"; see '),
    ],
)
def test_a_process_that_really_crashes(tmp_path: Path, number: signal.Signals, words: str) -> None:
    """With the environment of an engine's process, and nothing in its code that asks for the stacks."""
    log = tmp_path / "engine.log"
    said = "print('RuntimeError: the last words', flush=True)" if number == signal.SIGABRT else "pass"
    program = f"import os\ndef forward(): os.kill(os.getpid(), {int(number)})\n{said}\nforward()"
    with log.open("wb") as out:
        command = [sys.executable, "-c", program]
        code = subprocess.call(command, stdout=out, stderr=out, env={**os.environ, **ENGINE_ENVIRONMENT})
    assert code == -number
    assert words in str(engine_ended(code, log, kills=0))


def test_an_error_before_the_crash_is_quoted_and_no_line_of_its_stacks(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    log.write_text("RuntimeError: tile\n" + VLLM_CRASH)
    sentence = str(engine_ended(-signal.SIGILL, log, kills=0))
    assert 'forward ("RuntimeError: tile"), likely ' in sentence
    assert "ValueError" not in sentence


def test_a_warning_that_quotes_an_exception_is_no_error() -> None:
    warning = "(MainProcess pid=1) WARNING 11-30 01:02:14 [utils.py:597] Failed to create it. Exception: no primitive"
    assert last_error(f"{warning}\n") == ""
    assert last_error(f"MemoryError: 5 GiB\n{warning}\n") == "MemoryError: 5 GiB"


@pytest.mark.parametrize(("amx", "word"), [(True, "AMX"), (False, "--deep")])
def test_an_illegal_instruction_is_amx_only_where_there_is_amx(
    monkeypatch: pytest.MonkeyPatch, amx: bool, word: str
) -> None:
    monkeypatch.setattr(exit_reason, "has_amx", lambda: amx)
    assert word in likely_cause(signal.SIGILL)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (IN_AN_OPENMP_THREAD, '; a worker crashed ("Bus error") while running vllm/v1/core/block_pool.py get, likely '),
        ("Fatal Python error: Aborted\n", '; a worker crashed ("Aborted")'),
        ("RuntimeError: no crash\n", ""),
    ],
)
def test_a_worker_that_crashed_is_added_to_what_the_engine_says(tmp_path: Path, text: str, words: str) -> None:
    log = tmp_path / "engine.log"
    log.write_text(text)
    assert worker_crash(log).startswith(words)
    assert bool(worker_crash(log)) == bool(words)


def test_an_exit_code_has_no_cause_here() -> None:
    assert likely_cause(-1) == likely_cause(-127) == ""
