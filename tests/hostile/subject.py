"""The attacked process: vLLM's real engine over an executor that computes nothing, forked anew for each attack.

The engine is built once; a fork takes milliseconds. The process that forks never opens a table itself, because a fork
has none of the threads that Arrow would have started by then.
"""

from __future__ import annotations

import json
import os
import signal
import traceback
from collections.abc import Callable
from pathlib import Path
from time import monotonic, monotonic_ns, sleep
from typing import Any

HANG_SECONDS = 60.0
AT_ONCE = 12
ANSWER = 20  # tokens, and one more for each of the first requests


def build() -> Any:
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    from engine_probe.workload.cost import build_engine

    return build_engine()


def forked(work: Callable[[], object], log: Path) -> int:
    """Run `work` in a fork of this process, with its words in `log`; return the process's number."""
    if process := os.fork():
        return process
    code = 0
    try:
        words = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(words, 1)
        os.dup2(words, 2)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        work()
    except BaseException:
        os.write(2, traceback.format_exc().encode())
        code = 70
    finally:
        os._exit(code)  # whatever is left of its streams


def ended(process: int, seconds: float = HANG_SECONDS) -> int | None:
    """Wait for a fork; return its exit code, or minus its signal. None where it hung, and was killed."""
    until = monotonic() + seconds
    while monotonic() < until:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        sleep(0.005)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return None


def asked(work: Callable[[], Any], answer: Path) -> Any:
    """Ask a fork a question; return what it answers."""
    process = forked(lambda: answer.write_text(json.dumps(work())), answer.with_suffix(".log"))
    if code := ended(process):
        raise RuntimeError(f"exit {code}: {answer.with_suffix('.log').read_text()[-3000:]}")
    return json.loads(answer.read_text())


class Teller:
    """Lines with their time in a file, which `kill -9` does not take."""

    def __init__(self, path: Path | None) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND) if path else None

    def __call__(self, what: str) -> None:
        if self._file is not None:
            os.write(self._file, f"{what} {monotonic_ns()}\n".encode())


class Driver:
    """Requests without end on an engine; what happens is told line by line into a file."""

    def __init__(self, engine: Any, told: Path | None = None, keep_answers: bool = True) -> None:
        from vllm import SamplingParams

        self._parameters, self._engine, self._keep = SamplingParams, engine, keep_answers
        self.tell = Teller(told)
        self.added = self.finished = self.steps = 0
        self.answers: dict[str, list[int]] = {}

    def step(self, add: bool = True) -> None:
        while add and self.added - self.finished < AT_ONCE:
            parameters = self._parameters(max_tokens=ANSWER + self.added % 7, ignore_eos=True, detokenize=False)
            prompt = [10 + self.added % 200] * (16 + self.added % 40)
            self._engine.add_request(str(self.added), {"prompt_token_ids": prompt}, parameters)
            self.added += 1
        for output in self._engine.step():
            if output.finished:
                self.finished += 1
                if self._keep:
                    self.answers[output.request_id] = list(output.outputs[0].token_ids)
                self.tell(f"finished-{output.request_id}")
        self.tell("step")
        self.steps += 1

    def rest(self) -> None:
        while self._engine.has_unfinished_requests():
            self.step(add=False)
