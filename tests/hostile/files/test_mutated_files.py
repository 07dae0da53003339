"""A short campaign with a fixed seed: no mutated file gives a traceback, a crash, a hang or a file outside."""

from __future__ import annotations

import pytest

from tests.hostile.files.campaign import WHOLE, Job, Outcome, campaign, jobs
from tests.hostile.files.material import targets

pytestmark = pytest.mark.lengthy

EACH = 1  # input of every kind of file; `make test-hostile` takes thousands


def whole_jobs() -> list[Job]:
    """Return a job for each set of commands: nothing is mutated, so the other files of a set are read by it too."""
    names = {target.commands: target.name for target in targets()}
    return [Job(WHOLE, 0, name) for name in names.values()]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> list[Outcome]:
    """Attack with whole and with mutated files by one worker, which imports every command; others have the other core.

    The whole files come first, so that what they are read by is imported when a mutated one meets it.
    """
    todo = [*whole_jobs(), *jobs(EACH * len(targets()), seed=1)]
    return campaign(todo, tmp_path_factory.mktemp("campaign"), workers=1, limit_seconds=240)


def test_whole_files_are_read_by_every_command(outcomes: list[Outcome]) -> None:
    """Else nothing would be attacked. A recording that was cut, or a card that failed, is told with 1."""
    whole = [outcome for outcome in outcomes if outcome.job.number == WHOLE]
    assert [outcome.job for outcome in whole] == whole_jobs()
    for outcome in whole:
        assert outcome.failures == []
        assert set(outcome.codes) <= {0, 1}, outcome.job.name


def test_mutated_files_are_read_or_refused(outcomes: list[Outcome]) -> None:
    mutated = [outcome for outcome in outcomes if outcome.job.number != WHOLE]
    assert [failure.line for outcome in mutated for failure in outcome.failures] == []
    assert len(mutated) == EACH * len(targets())
    codes = {code for outcome in mutated for code in outcome.codes}
    assert codes >= {0, 2}  # some were read, some refused
