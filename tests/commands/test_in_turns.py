"""`sweep A --against B`: the order, what is refused, and the comparison at the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from engine_probe.commands.sweep import cli, in_turns, measure
from engine_probe.errors import INTERRUPTED
from engine_probe.sweep.definition.loader import read_sweep
from engine_probe.sweep.definition.sweep_file import SweepFile
from tests.support.golden import write_repeated

NARROW = "engine.arguments.max_num_seqs=8"


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stands for measuring; the sweep with the setting has a smaller pool. The folders, in the order of time."""
    folders: list[str] = []

    def instead(sweep: SweepFile, *arguments: Any, report: bool) -> int:
        folder = Path(arguments[3])
        write_repeated(folder, 40 if sweep.engine.arguments.get("max_num_seqs") == 8 else 90)
        folders.append(str(folder))
        assert not report
        return 0

    monkeypatch.setattr(measure, "measure", instead)
    return folders


def swept(*arguments: str) -> Result:
    return CliRunner().invoke(cli.command, ["smoke", "--model", "tiny", *arguments])


def test_they_are_measured_in_turns_and_compared(measured: list[str]) -> None:
    told = swept("--against", NARROW, "--out", "both")
    assert told.exit_code == 0
    order = ("before-1", "after-1", "after-2", "before-2", "before-3", "after-3")
    assert measured == [f"both/{name}" for name in order]
    text = " ".join(told.stdout.split())
    assert "after-1 and 2 more against before-1 and 2 more" in text
    assert "Worse over all 3 points together: " in text
    before, after = (" ".join(f"both/{side}-{number}" for number in (1, 2, 3)) for side in ("before", "after"))
    assert f"engine_probe compare {before} --against {after}" in text


def test_the_same_sweep_may_be_held_against_itself(measured: list[str]) -> None:
    told = swept("--against", "smoke", "--rounds", "2", "--out", "both")
    assert len(measured) == 4
    assert "No significant change over all 3 points together" in " ".join(told.stdout.split())


def test_after_a_ctrl_c_what_is_complete_is_kept_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def instead(sweep: SweepFile, *arguments: Any, report: bool) -> int:
        write_repeated(Path(arguments[3]), 90)
        return INTERRUPTED

    monkeypatch.setattr(measure, "measure", instead)
    told = swept("--against", NARROW, "--out", "both")
    assert told.exit_code == INTERRUPTED
    assert "it takes 2 sweeps of each side, and there are 1 and 0" in told.stdout
    assert [folder.name for folder in Path("both").iterdir()] == ["before-1"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--against", "workload.concurrency=64"), "has no point in common with the sweep ('concurrency 1'"),
        (("--against", "smoke", "--against", NARROW), "name one sweep, or only settings"),
        (("--against", NARROW, "--out", "s3://bucket/x"), "the sweeps are written to this machine"),
        (("--against", NARROW, "--out", "."), "already holds something"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_starts(
    measured: list[str], arguments: tuple[str, ...], sentence: str
) -> None:
    Path("mine").touch()
    told = swept(*arguments)
    assert sentence in str(told.exception)
    assert measured == []
    assert [path.name for path in Path.cwd().iterdir()] == ["mine"]


def test_a_drift_favours_neither_side() -> None:
    before, after = read_sweep("smoke"), read_sweep("probe_overhead")
    order = [sweep for _, sweep in in_turns.in_order([before, after], 4)]
    assert sum(at for at, sweep in enumerate(order) if sweep is before) == sum(
        at for at, sweep in enumerate(order) if sweep is after
    )
