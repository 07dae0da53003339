"""A pytest plugin: a recording begins on every scheduler that a test builds, and ends when the test does.

Each recording adds one line of JSON to the file in ENGINE_PROBE_UPSTREAM: the test, the rows it wrote, errors of the
probe, and what its audit found when it compared its counters with the scheduler.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import traceback
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.scheduler import Scheduler

from engine_probe.hook.between_steps import begin_between_steps, close_between_steps
from engine_probe.hook.scheduler import SchedulerHook
from engine_probe.record.recorder import Recorder
from engine_probe.record.writer import Writer

begun: list[Recorded] = []  # by the test that runs


class Recorded:
    """The recording of one scheduler."""

    def __init__(self, scheduler: Any) -> None:
        self.errors: list[str] = []
        self.recorder, self.folder = Recorder(), Path(tempfile.mkdtemp(prefix="engine_probe-upstream-"))
        self.writer = Writer(self.recorder, self.folder, self.fail)
        self.hook = SchedulerHook(scheduler, self.recorder, self.fail)
        begin_between_steps(self.hook)

    def fail(self, error: BaseException) -> None:
        self.errors.append("".join(traceback.format_exception(error)))
        self.hook.detach()

    def close(self) -> dict[str, Any]:
        """End it; return what is to be told."""
        try:
            facts = close_between_steps(self.hook)
            tables = self.writer.close()
            rows = tables.get("iterations", {}).get("rows", 0)
            return {"rows": rows, "errors": self.errors, "audit": facts["counter_audit"]}
        finally:
            shutil.rmtree(self.folder)


def recorded(init: Callable[..., None]) -> Callable[..., None]:
    """Return a constructor that also begins a recording, once the outermost constructor has ended."""

    @wraps(init)
    def initialise(scheduler: Any, *args: Any, **kwargs: Any) -> None:
        init(scheduler, *args, **kwargs)
        if type(scheduler).__init__ is initialise:
            begun.append(Recorded(scheduler))

    return initialise


def pytest_configure() -> None:
    for scheduler in (AsyncScheduler, Scheduler):
        scheduler.__init__ = recorded(scheduler.__init__)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Close what the test began, after its fixtures are gone."""
    try:
        return (yield)
    finally:
        with Path(os.environ["ENGINE_PROBE_UPSTREAM"]).open("a") as lines:
            for recording in begun:
                lines.write(json.dumps({"test": item.nodeid, **recording.close()}) + "\n")
        begun.clear()
