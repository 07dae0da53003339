"""The command prints its tables, writes its counts and its section, and refuses what it cannot run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tools.calibration.__main__ import main


def test_tables_are_printed_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    counts, document = tmp_path / "counts.json", tmp_path / "calibration.md"
    where = ["--json", str(counts), "--write", str(document), "--section", "before"]
    monkeypatch.setattr(
        "sys.argv", ["calibration", "--sweeps", "20", "--seed", "3", "--only", "stops", "--processes", "1", *where]
    )
    main()
    printed = capsys.readouterr().out.strip()
    assert "claims with a bound" in printed.splitlines()[0]
    assert "### Stops" in printed
    assert printed in document.read_text()
    rows = json.loads(counts.read_text())
    keys = {(row["claim"], row["condition"], row["bin"]) for row in rows}
    assert len(keys) == len(rows) > 5
    assert 'make measure-calibration ARGS="--sweeps 20 --seed 3 --only stops"' in document.read_text()


def test_a_file_in_no_folder_is_refused_before_anything_is_simulated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["calibration", "--write", str(tmp_path / "none" / "calibration.md")])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert f"there is no folder {tmp_path / 'none'}" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--sweeps", "--processes"])
def test_nothing_to_do_is_refused(
    option: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["calibration", option, "0"])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert f"{option} is 0: at least 1" in capsys.readouterr().err
