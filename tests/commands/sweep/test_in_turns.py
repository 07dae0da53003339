"""`sweep A --against B`: the order, what is refused, and the comparison at the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from engine_probe.commands.sweep import cli, in_turns, measure
from engine_probe.errors import INTERRUPTED, UnavailableError
from engine_probe.sweep.definition.sweep_file import SweepFile
from tests.support.recordings.golden import write_repeated
from tests.support.values import values

NARROW = "engine.arguments.max_num_seqs=8"


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stands for measuring; the sweep with the setting has a smaller pool. The folders, in the order of time."""
    folders: list[str] = []

    def instead(sweep: SweepFile, out: str, report: bool, **arguments: Any) -> int:
        write_repeated(Path(out), 40 if sweep.engine.arguments.get("max_num_seqs") == 8 else 90)
        folders.append(out)
        assert not report
        return 0

    monkeypatch.setattr(measure, "measure", instead)
    return folders


def swept(*arguments: str) -> Result:
    return CliRunner().invoke(cli.command, ["smoke", "--model", "tiny", *arguments])


@pytest.mark.lengthy
def test_they_are_measured_in_turns_and_compared(measured: list[str]) -> None:
    told = swept("--against", NARROW, "--out", "both")
    assert told.exit_code == 0
    order = ("before-1", "after-1", "after-2", "before-2", "before-3", "after-3")
    assert measured == [f"both/{name}" for name in order]
    text = " ".join(told.stdout.split())
    assert values(text.partition("after-1 and")[2])[0] == "2"
    assert values(text.partition("Worse over all")[2])[0] == "3"
    before, after = (" ".join(f"both/{side}-{number}" for number in (1, 2, 3)) for side in ("before", "after"))
    assert f"engine_probe compare {before} --against {after}" in text


@pytest.mark.lengthy
def test_the_same_sweep_may_be_held_against_itself(measured: list[str]) -> None:
    told = swept("--against", "smoke", "--rounds", "2", "--out", "both")
    assert len(measured) == 4
    assert values(" ".join(told.stdout.split()).partition("No significant change over all")[2])[0] == "3"


@pytest.mark.lengthy
@pytest.mark.parametrize("code", [INTERRUPTED, UnavailableError.exit_code])
def test_it_ends_with_a_sweep_that_measures_nothing(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """What is complete is kept, and what is not is compared with nothing."""

    def instead(sweep: SweepFile, out: str, **arguments: Any) -> int:
        write_repeated(Path(out), 90)
        return code if out.endswith("after-2") else 0

    monkeypatch.setattr(measure, "measure", instead)
    told = swept("--against", NARROW, "--out", "both")
    assert told.exit_code == code
    assert "not compared: 2 sweeps of each side are needed, and 1 and 1 were measured" in told.stderr
    assert sorted(folder.name for folder in Path("both").iterdir()) == ["after-1", "after-2", "before-1"]


@pytest.mark.lengthy
def test_sweeps_without_a_common_point_are_kept_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def instead(sweep: SweepFile, out: str, **arguments: Any) -> int:
        write_repeated(Path(out), 90, (4, 12) if "before" in out else (20,))
        return 1

    monkeypatch.setattr(measure, "measure", instead)
    told = swept("--against", NARROW, "--out", "both")
    assert told.exit_code == 1
    assert "have no point in common" in told.stderr
    assert len(list(Path("both").iterdir())) == 6


def test_what_is_refused_by_the_first_sweep_leaves_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def instead(*arguments: Any, **named: Any) -> int:
        raise UnavailableError("no such version of vLLM")

    monkeypatch.setattr(measure, "measure", instead)
    assert "no such version" in str(swept("--against", NARROW, "--out", "new/both").exception)
    assert list(Path.cwd().iterdir()) == []


def test_a_dry_run_says_how_often_each_is_measured() -> None:
    told = swept("--against", NARROW, "--rounds", "4", "--dry-run")
    assert told.stdout.count("points on 1 engine.") == 2
    assert told.stdout.endswith("Each of the two is measured 4 times.\n")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--against", "workload.concurrency=64"), "has no point in common with the sweep ('concurrency 1'"),
        (("--against", "smoke", "--against", NARROW), "name one sweep, or only settings"),
        (("--against", NARROW, "--out", "s3://bucket/x"), "the sweeps are written to this machine"),
        (("--against", "saturation"), "--against searches for its loads, which differ each time"),
        (("--against", "engine_arguments"), "--against searches for engine arguments"),
        (("--rounds", "4"), "--rounds 4 counts the sweeps of each side with --against"),
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
    order = list(in_turns.in_order(4))
    places = {side: sum(at for at, each in enumerate(order) if each == side) for side in in_turns.SIDES}
    assert places["before"] == places["after"]
