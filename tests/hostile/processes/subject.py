"""The attacked process: vLLM's real engine over an executor that computes nothing, forked anew for each attack.

The engine is built once and everything that an attack imports is loaded, so a fork begins to record within
milliseconds. The process that forks never opens a table itself: Arrow would start threads, which a fork does not have.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from time import monotonic, monotonic_ns, sleep
from typing import Any

HANG_SECONDS = 60.0  # on a machine that builds the engine within QUICK_SECONDS; a slower one gets more
QUICK_SECONDS = 10.0
IN_FLIGHT = 12
ANSWER_TOKENS = 20  # of request 0; the next six get one more each, and so on
ANSWER_TOKEN = 7  # what the executor answers, whatever it is asked
USED_BY_FORKS = (
    "pandas",
    "pyarrow",
    "engine_probe.sweep.engine_process.worker",
    "engine_probe.sweep.execution.runner",
)

_slowness = 1.0


def build() -> Any:
    """Build the engine and load what its forks use; how long that takes tells how patient to be with them."""
    global _slowness
    begun = monotonic()
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    for name in USED_BY_FORKS:
        import_module(name)
    from engine_probe.overhead.driver import MAX_MODEL_LEN, MOST_RUNNING
    from engine_probe.overhead.engine import build_engine

    engine = build_engine(MOST_RUNNING, MAX_MODEL_LEN)
    _slowness = max(1.0, (monotonic() - begun) / QUICK_SECONDS)
    return engine


def patience_seconds() -> float:
    return HANG_SECONDS * _slowness


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
        faulthandler.dump_traceback_later(patience_seconds() * 0.8, file=2)  # where it hangs, if it does
        work()
    except BaseException:
        os.write(2, traceback.format_exc().encode())
        code = 70
    finally:
        os._exit(code)  # whatever is left of its streams


def ended(process: int, seconds: float | None = None) -> int | None:
    """Wait for a fork; return its exit code, or minus its signal. None where it hung, and was killed."""
    until = monotonic() + (patience_seconds() if seconds is None else seconds)
    while monotonic() < until:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        sleep(0.005)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return None


class CrashedError(Exception):
    """A fork that was asked a question did not answer."""


def asked(work: Callable[[], Any], answer: Path) -> Any:
    """Ask a fork a question, so that a crash of what reads is survived; return what it answers."""
    log = answer.with_suffix(".log")
    process = forked(lambda: answer.write_text(json.dumps(work())), log)
    if (code := ended(process)) != 0:
        words = log.read_text().strip().splitlines() if log.exists() else []
        raise CrashedError(f"exit {code}: {words[-1] if words else '-'}")
    return json.loads(answer.read_text())


class Teller:
    """Lines with their time in a file, which `kill -9` does not take."""

    def __init__(self, path: Path | None) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND) if path else None

    def __call__(self, what: str) -> None:
        if self._file is not None:
            os.write(self._file, f"{what} {monotonic_ns()}\n".encode())


def told_in(path: Path) -> list[tuple[str, int]]:
    """Return what a `Teller` wrote there: each line with its time."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [(what, int(when)) for what, _, when in (line.partition(" ") for line in lines)]


class Driver:
    """Requests without end on an engine; what happens is told line by line into a file."""

    def __init__(self, engine: Any, told: Path | None = None, keep_answers: bool = True) -> None:
        from vllm import SamplingParams

        self._parameters, self._engine, self._keep = SamplingParams, engine, keep_answers
        self.tell = Teller(told)
        self.added = self.finished = self.steps = 0
        self.answers: dict[str, list[int]] = {}

    def step(self, add: bool = True) -> None:
        while add and self.added - self.finished < IN_FLIGHT:
            parameters = self._parameters(max_tokens=answer_tokens(self.added), ignore_eos=True, detokenize=False)
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

    def wrong_answers(self) -> list[str]:
        """Return the requests that were answered other tokens than they should have been."""
        right = {name: [ANSWER_TOKEN] * answer_tokens(int(name)) for name in self.answers}
        return [name for name, tokens in self.answers.items() if tokens != right[name]]


def answer_tokens(number: int) -> int:
    return ANSWER_TOKENS + number % 7


def request_name(row_id: str) -> str:
    """Return the id that the driver gave a request, which vLLM adds something random to."""
    return row_id.rpartition("-")[0] or row_id


def wrong_rows(run: Any) -> list[str]:
    """Return what cannot be true of a recording of a `Driver`, whole or cut."""
    wrong: list[str] = []
    steps, rows = run.iterations, run.requests.to_pylist()
    names = [request_name(row["request_id"]) for row in rows]
    if steps["iteration"].to_pylist() != list(range(steps.num_rows)):
        wrong.append("iterations do not count")
    if sum(steps["finished_requests"].to_pylist()) > len(rows):
        wrong.append("a step finished requests that have no row")
    wrong += [
        f"{row['request_id']} has {row['output_tokens']} tokens"
        for name, row in zip(names, rows, strict=True)
        if row["output_tokens"] != answer_tokens(int(name))
    ]
    if len(set(names)) != len(names):
        wrong.append("a request has two rows")
    return wrong
