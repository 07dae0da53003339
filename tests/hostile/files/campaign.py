"""A campaign of mutated inputs: forked workers with limits, and a judgement of everything a command did.

Commands run inside the worker, in a sandbox of its own, so that thousands take minutes. A worker that dies or hangs is
counted against its input and replaced.
"""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import re
import resource
import shutil
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any

from tests.hostile.files.material import Call, Target, make, targets
from tests.hostile.files.mutations import KINDS

MORE_MEMORY = 4 * 2**30  # address space of a worker beyond what it has at its start
LONGEST_LINE = 2_000  # characters of what is said on the error stream
WHOLE = -1  # number of a job whose file is left whole
SHARE_OF_KINDS = 0.03  # of inputs that become no file at all
EXIT_CODES = {0, 1, 2, 3}
FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Job:
    """One mutated input: everything about it follows from the seed and the number."""

    number: int
    seed: int
    name: str  # of its target

    @property
    def target(self) -> Target:
        return next(target for target in targets() if target.name == self.name)

    @property
    def chance(self) -> Random:
        return Random(f"{self.seed}/{self.number}/{self.name}")


@dataclass(frozen=True)
class Failure:
    """What went wrong with one command on one input."""

    kind: str  # traceback, exit code, words, escape, outside, hang, signal, memory
    job: Job
    mutation: str
    command: str
    told: str

    @property
    def line(self) -> str:
        which = f"{self.kind}: input {self.job.number} ({self.job.name}, {self.mutation})"
        return f"{which}, {self.command}: {self.told}"


@dataclass
class Outcome:
    """Of one input through all commands that read it."""

    job: Job
    mutation: str = ""
    codes: Counter[int] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)
    peak_bytes: int = 0


def jobs(count: int, seed: int, only: str = "") -> list[Job]:
    names = [target.name for target in targets() if only in target.name]
    return [Job(number, seed, names[number % len(names)]) for number in range(count)]


def mutate(job: Job, folder: Path) -> str:
    """Mutate the job's file in `folder`; return the mutation's name."""
    if job.number == WHOLE:
        return "none"
    chance, path = job.chance, folder / job.target.file
    kinds = chance.random() < SHARE_OF_KINDS
    mutation = chance.choice(KINDS if kinds else job.target.mutations)
    mutation(path, chance)
    return mutation.__name__


# ---- in a worker ----------------------------------------------------------------------------------------


class Sandbox:
    """A folder with the whole files in `in`, where commands may write to `out` alone."""

    def __init__(self, place: Path, whole: Path) -> None:
        self.place, self._whole = place, whole
        self._renewed: dict[str, tuple[int, int]] | None = None

    def renew(self) -> None:
        """Copy the whole files anew, unless all lies as it was copied."""
        if self.state() != self._renewed:
            self._copy()
            self._renewed = self.state()
        os.chdir(self.place / "here")

    def _copy(self) -> None:
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir(parents=True)
        shutil.copytree(self._whole, self.place / "in")
        (self.place / "here").mkdir()
        os.environ |= {"ENGINE_PROBE_CACHE": str(self.place / "in" / "home"), "HOME": str(self.place / "here")}

    def state(self) -> dict[str, tuple[int, int]]:
        """Everything but `out`, by name: size and time of change."""
        found = {}
        for folder, names, files in os.walk(self.place):
            if folder == str(self.place):
                names[:] = [name for name in names if name != "out"]
            for name in files + names:
                path = f"{folder}/{name}"
                told = os.lstat(path)
                found[path] = (told.st_size, told.st_mtime_ns)
        return found


def words_of(call: Call, place: Path) -> list[str]:
    assert isinstance(call, tuple)
    return [word.replace("{in}", str(place / "in")).replace("{out}", str(place / "out")) for word in call]


def name_of(call: Call) -> str:
    return " ".join(call) if isinstance(call, tuple) else call.__name__.replace("_", " ")


def run_call(call: Call, place: Path) -> None:
    """As the command line does it; a function's errors become exit codes in the same place."""
    from engine_probe import cli

    if isinstance(call, tuple):
        sys.argv = ["engine_probe", *words_of(call, place)]
        cli.main()
        return
    import click

    from engine_probe.errors import EngineProbeError
    from engine_probe.text_format import plain, shortened

    try:
        call(place)
    except EngineProbeError as error:
        print(shortened(plain(f"engine_probe: {error}")), file=sys.stderr)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)


def judged(call: Call, place: Path) -> tuple[int | None, list[tuple[str, str]]]:
    """Run one command; return its exit code and what is wrong with what it did, as kind and words."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", errors="strict") for _ in range(2))
    code: int | None = 0
    wrong: list[tuple[str, str]] = []
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            run_call(call, place)
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
        except MemoryError:
            code = None
            wrong.append(("memory", last_frame()))
        except BaseException as error:
            code = None
            wrong.append(("traceback", f"{type(error).__name__}: {str(error)[:100]} at {last_frame()}"))
        said, told = text_of(out), text_of(err)
    if code is not None and code not in EXIT_CODES:
        wrong.append(("exit code", str(code)))
    if code in (2, 3):
        wrong += [("words", problem) for problem in problems_of(told)]
    if escapes := re.findall(r"[\x00-\x08\x0b-\x1f\x7f]", said + told):
        wrong.append(("escape", repr(escapes[0])))
    return code, wrong


def text_of(stream: io.TextIOWrapper) -> str:
    stream.flush()
    content = stream.buffer
    assert isinstance(content, io.BytesIO)
    return content.getvalue().decode("utf-8", errors="replace")


def problems_of(told: str) -> Iterator[str]:
    """A refusal ends with one sentence."""
    lines = told.strip().split("\n")
    if not re.match(r"(engine_probe|kernels_bench|Error): ", lines[-1]):
        yield f"no sentence at the end: {lines[-1][:80]!r}"
    if long := [line for line in lines if len(line) > LONGEST_LINE]:
        yield f"a line of {len(long[0]):,} characters: {long[0][:80]!r}"


def last_frame() -> str:
    """Where an error came out of our own code."""
    frames = traceback.extract_tb(sys.exc_info()[2])
    own = [frame for frame in frames if "engine_probe/" in frame.filename or "kernels_bench/" in frame.filename]
    frame = (own or frames)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno} {frame.name}"


def attack(job: Job, sandbox: Sandbox) -> Outcome:
    outcome = Outcome(job)
    sandbox.renew()
    try:
        outcome.mutation = mutate(job, sandbox.place / "in")
    except (ValueError, IndexError):
        outcome.mutation = "left as it was"  # by chance it was no file of its kind any more
    before = sandbox.state()
    for call in job.target.commands:
        shutil.rmtree(sandbox.place / "out", ignore_errors=True)
        (sandbox.place / "out").mkdir()
        code, wrong = judged(call, sandbox.place)
        if code is not None:
            outcome.codes[code] += 1
        if (after := sandbox.state()) != before:
            changed = sorted({name for name, _ in after.items() ^ before.items()})
            wrong.append(("outside", changed[0].replace(str(sandbox.place), "")))
            before = after
        outcome.failures += [Failure(kind, job, outcome.mutation, name_of(call), words) for kind, words in wrong]
    outcome.peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return outcome


def work(pipe: Connection, whole: Path, place: Path) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MORE_MEMORY, used + MORE_MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sandbox, parent = Sandbox(place, whole), os.getppid()
    while os.getppid() == parent:  # a killed parent leaves no worker behind
        if pipe.poll(1.0):
            pipe.send(attack(pipe.recv(), sandbox))


# ---- in the parent --------------------------------------------------------------------------------------


class Worker:
    """A forked process that takes one job at a time."""

    def __init__(self, whole: Path, place: Path) -> None:
        self.pipe, theirs = FORK.Pipe()
        self.process = FORK.Process(target=work, args=(theirs, whole, place), daemon=True)
        self.process.start()
        theirs.close()
        self.job: Job | None = None
        self.since = 0.0

    def take(self, job: Job) -> None:
        self.job, self.since = job, monotonic()
        self.pipe.send(job)

    def end(self) -> int:
        self.process.kill()
        self.process.join()
        self.pipe.close()
        return self.process.exitcode or 0


def made(folder: Path) -> Path:
    """Write the whole files in a process of its own: a parent without Arrow's threads can be forked safely."""
    maker = FORK.Process(target=make, args=(folder,))
    maker.start()
    maker.join()
    if maker.exitcode:
        raise RuntimeError("the whole files could not be made")
    return folder


def campaign(
    todo: Sequence[Job],
    folder: Path,
    workers: int = 2,
    limit_seconds: float = 60.0,
    progress: Callable[[Outcome], Any] = lambda _: None,
) -> list[Outcome]:
    """Attack with every job, each within its time; return an outcome for each."""
    whole = made(folder / "whole")
    waiting = list(reversed(todo))
    crew = [Worker(whole, folder / f"worker-{number}") for number in range(workers)]
    outcomes: list[Outcome] = []

    def finish(outcome: Outcome) -> None:
        outcomes.append(outcome)
        progress(outcome)

    try:
        while waiting or any(worker.job for worker in crew):
            for worker in crew:
                if worker.job is None and waiting:
                    worker.take(waiting.pop())
            ready = wait([worker.pipe for worker in crew if worker.job], timeout=1.0)
            for number, worker in enumerate(crew):
                job = worker.job
                if job is None:
                    continue
                lost = ""
                if worker.pipe in ready:
                    try:
                        finish(worker.pipe.recv())
                        worker.job = None
                    except EOFError:
                        lost = "signal"
                elif monotonic() - worker.since > limit_seconds:
                    lost = "hang"
                if lost:
                    if lost == "signal":
                        worker.process.join()
                    code = worker.end()
                    told = signal.Signals(-code).name if lost == "signal" and code < 0 else f"over {limit_seconds:g} s"
                    finish(Outcome(job, "?", failures=[Failure(lost, job, "?", "one of its commands", told)]))
                    crew[number] = Worker(whole, folder / f"worker-{number}")
    except KeyboardInterrupt:
        pass  # what was attacked until now counts
    finally:
        for worker in crew:
            worker.end()
    return outcomes
