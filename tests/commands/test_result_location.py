"""The folder of results: new, named by what is measured, and of one process at a time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from engine_probe.commands.options.result_location import make_folder, new_folder, open_results
from engine_probe.commands.sweep.suite.cli import command as suite
from engine_probe.errors import InputError
from tests.support.recordings.run_folders import write_sweep

IN_USE = "is in use by another engine_probe: wait until it has ended"
HOLD = """
import sys
from engine_probe.commands.options.result_location import open_results
results = open_results(sys.argv[1], "")
print("open", flush=True)
sys.stdin.read()
"""


def test_a_sweep_that_runs_is_not_resumed_beside_itself(tmp_path: Path) -> None:
    """The second one would set aside what the first one records."""
    folder = str(write_sweep(tmp_path / "sweep", (1,)))
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "open\n"
        with pytest.raises(InputError, match=IN_USE):
            open_results(folder, "")
        first.kill()
    open_results(folder, "").close()  # the kernel has dropped the lock of the killed process


def test_two_that_begin_in_the_same_second_do_not_share_a_new_folder(tmp_path: Path) -> None:
    first = make_folder(tmp_path / "runs" / "smoke-20261201T120000")
    with pytest.raises(InputError, match=IN_USE):
        make_folder(first.folder)
    first.close()
    assert not list(tmp_path.iterdir())


def test_a_suite_that_runs_is_not_resumed_beside_itself(tmp_path: Path) -> None:
    results = make_folder(tmp_path / "suite")
    outcome = CliRunner().invoke(suite, ["--resume", str(results.folder)])
    assert isinstance(outcome.exception, InputError)
    assert IN_USE in str(outcome.exception)
    results.close()
    outcome = CliRunner().invoke(suite, ["--resume", str(tmp_path)])
    assert "holds no suite.json" in str(outcome.exception)


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file already holds something and is never overwritten"):
        make_folder(tmp_path / "file")
    with pytest.raises(InputError, match=r"cannot write to .*/file/below: Not a directory; name another folder"):
        make_folder(tmp_path / "file" / "below")
    with pytest.raises(InputError, match="File name too long; name another folder"):
        make_folder(tmp_path / ("x" * 300))


@pytest.mark.parametrize(
    ("name", "begins"),
    [("smoke", "runs/smoke-20"), ("a/kv.toml", "runs/kv-20"), (".", "runs/mine-20"), ("..", "runs/all-20")],
)
def test_results_are_named_by_what_is_measured(
    name: str, begins: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "all" / "mine").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "all" / "mine")
    assert new_folder(name).startswith(begins)
