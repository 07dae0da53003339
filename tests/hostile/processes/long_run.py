"""As many steps as an hour of a fast engine has: the process's memory is flat once it is warm."""

from __future__ import annotations

import json
import resource
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

from tests.hostile.page import HANG, LOST, OTHER, TABLE, TRACEBACK
from tests.hostile.processes.subject import CrashedError, Driver, asked, ended, forked, wrong_rows

WARM = 0.25  # share of the run that is the warm-up
FLAT_BYTES = 16 * 2**20  # more growth than this after it is no noise of an allocator
SAMPLES = 20  # that the page shows
LOOKS = 200
SPARE_SECONDS = 900.0


@dataclass
class Length:
    """A long recording: resident bytes after so many steps, and what it came to."""

    asked_steps: int
    seconds: float = 0.0
    samples: list[tuple[int, int]] = field(default_factory=list)  # steps, resident bytes
    status: str = ""
    bytes_on_disk: int = 0
    wrong: list[tuple[str, str]] = field(default_factory=list)

    @property
    def steps(self) -> int:
        return self.samples[-1][0] if self.samples else 0

    @property
    def warm(self) -> list[tuple[int, int]]:
        return [sample for sample in self.samples if sample[0] >= self.steps * WARM]

    @property
    def growth_bytes(self) -> int:
        """Of the highest sample after the warm-up over the first of them."""
        return max(resident for _, resident in self.warm) - self.warm[0][1]

    def lines(self) -> list[str]:
        if not self.samples:
            return [f"- {kind}: {text}" for kind, text in self.wrong]
        step = max(1, len(self.samples) // SAMPLES)
        shown = [*self.samples[::step], self.samples[-1]]
        return [
            f"{self.steps:,} of {self.asked_steps:,} steps in {self.seconds:,.0f} s, {self.status},",
            f"{self.bytes_on_disk / 2**20:,.0f} MiB on disk. Resident memory was {self.warm[0][1] / 2**20:.1f} MiB",
            f"after a quarter of the steps and at most {self.growth_bytes / 2**20:+.1f} MiB from there afterwards.",
            "",
            "| steps | resident MiB |",
            "|--:|--:|",
            *(f"| {steps:,} | {resident / 2**20:.1f} |" for steps, resident in shown),
            *(f"- {kind}: {text}" for kind, text in self.wrong),
        ]


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def work(engine: Any, steps: int, seconds: float, place: Path) -> None:
    """Step the engine until so many steps or seconds have passed; each sample is on disk at once."""
    from engine_probe import Probe

    driver, begun = Driver(engine, keep_answers=False), monotonic()  # the harness's own memory is none of the probe's
    told = (place / "samples").open("w")
    with Probe(engine, place / "run"):
        while driver.steps < steps and monotonic() - begun < seconds:
            for _ in range(max(1, steps // LOOKS)):
                driver.step()
                if driver.steps == steps:
                    break
            told.write(json.dumps([driver.steps, resident_bytes(), monotonic() - begun, driver.finished]) + "\n")
            told.flush()


def judge(place: Path, steps: int, finished: int) -> dict[str, Any]:
    from engine_probe import load

    run = load(place / "run")
    wrong = [(TABLE, text) for text in wrong_rows(run)]
    if run.status != "complete":
        wrong.append((LOST, f"it is {run.status}: {'; '.join(run.notes)[:300]}"))
    elif (run.iterations.num_rows, run.requests.num_rows) != (steps, finished):
        wrong.append((TABLE, f"{run.iterations.num_rows:,} rows of {steps:,} steps"))
    return {"status": run.status, "wrong": wrong}


def run_long(engine: Any, steps: int, seconds: float, place: Path) -> Length:
    place.mkdir(parents=True)
    length = Length(steps)
    code = ended(forked(lambda: work(engine, steps, seconds, place), place / "log"), seconds + SPARE_SECONDS)
    told = [json.loads(line) for line in (place / "samples").read_text().splitlines()]
    length.samples = [(done, resident) for done, resident, *_ in told]
    if code != 0:
        text = f"exit {code}: {(place / 'log').read_text()[-300:]}"
        length.wrong.append((HANG if code is None else TRACEBACK, text))
        return length
    length.seconds, finished = told[-1][2:]
    length.bytes_on_disk = sum(path.stat().st_size for path in (place / "run").iterdir())
    try:
        answer = asked(lambda: judge(place, length.steps, finished), place / "answer.json")
    except CrashedError as error:
        answer = {"status": "not readable", "wrong": [(TRACEBACK, str(error))]}
    length.status, length.wrong = answer["status"], [(kind, text) for kind, text in answer["wrong"]]
    if length.growth_bytes > FLAT_BYTES:
        length.wrong.append((OTHER, f"it grew by {length.growth_bytes / 2**20:.1f} MiB after the warm-up"))
    return length
