"""A short campaign with a fixed seed: no mutated file gives a traceback, a crash, a hang or a file outside."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hostile.files.campaign import WHOLE, Job, Outcome, campaign, jobs
from tests.hostile.files.material import targets

pytestmark = pytest.mark.lengthy

EACH = 1  # input of every kind of file; `make test-hostile` takes thousands


def attacked(todo: list[Job], folder: Path) -> list[Outcome]:
    """Attack with one worker: each has to import every command, and other tests have the other core."""
    return campaign(todo, folder, workers=1, limit_seconds=240)


def test_whole_files_are_read_by_every_command(tmp_path: Path) -> None:
    """Else nothing would be attacked. A recording that was cut, or a card that failed, is told with 1."""
    for outcome in attacked([Job(WHOLE, 0, target.name) for target in targets()], tmp_path):
        assert outcome.failures == []
        assert set(outcome.codes) <= {0, 1}, outcome.job.name


def test_mutated_files_are_read_or_refused(tmp_path: Path) -> None:
    outcomes = attacked(jobs(EACH * len(targets()), seed=1), tmp_path)
    assert [failure.line for outcome in outcomes for failure in outcome.failures] == []
    assert len(outcomes) == EACH * len(targets())
    codes = {code for outcome in outcomes for code in outcome.codes}
    assert codes >= {0, 2}  # some were read, some refused
