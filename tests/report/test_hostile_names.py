"""Names from outside on a terminal and in a spreadsheet: text, never markup, orders to a terminal or a formula."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from engine_probe import cli
from engine_probe.commands import compare, export, profile, report
from engine_probe.commands.options.result_location import Results
from engine_probe.commands.sweep import cli as sweep
from tests.support.recordings.run_folders import facts, ran, with_names, write_run

MARKUP = "p[/b]x"


def run_command(command: Any, *arguments: object) -> Any:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_profile_tells_a_folder_whose_name_is_markup(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What failed after the measuring: the last line."""
    folder = write_run(tmp_path / MARKUP.replace("/", "∕") / "recording", ran(4)).parent
    results = Results(folder)
    results.location = MARKUP
    assert profile.show(results) == 0
    assert f"Every iteration is recorded in {MARKUP}." in capsys.readouterr().out


def test_a_price_list_whose_words_are_markup(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", ran(4))
    prices = tmp_path / "prices.toml"
    prices.write_text(
        f'currency = "{MARKUP}"\n[[fixed]]\nname = "{MARKUP}"\nper_hour = 1\n'
        f'[[options]]\nname = "{MARKUP}\\u001b[2J"\nper_hour = 2\nrequests_per_minute = 5\nsource = "{MARKUP}"\n'
    )
    done = run_command(report.command, run, "--money", prices)
    assert done.exit_code == 0, done.exception
    assert MARKUP in done.output
    assert "\x1b[2J" not in done.output


def test_compare_tells_folders_whose_names_are_markup(tmp_path: Path) -> None:
    (tmp_path / "[").mkdir()
    one = write_run(tmp_path / "[" / "b]x", ran(4), facts(name=MARKUP))
    done = run_command(compare.command, one, write_run(tmp_path / "other", ran(4), facts(name="[red]")))
    assert done.exit_code == 0, done.exception


def test_a_dry_run_spells_out_a_terminal_s_orders(tmp_path: Path) -> None:
    model = tmp_path / "m\x1b[2Jx[bold]y"
    model.mkdir()
    (model / "config.json").write_text("{}")
    file = tmp_path / "s.toml"
    file.write_text(
        f'question = "q"\n[engine]\nmodel = "{str(model).replace(chr(27), chr(92) + "u001b")}"\n'
        "[workload]\ninput_len = 8\noutput_len = 8\n"
        '[axes]\n"engine.arguments.served_model_name" = ["a\\u001b[2J[/b]", "b"]\n'
    )
    done = run_command(sweep.command, file, "--dry-run", "--like", tmp_path)
    assert done.exit_code == 0, done.exception
    assert "\x1b[2J" not in done.output
    assert "m\\x1b[2Jx[bold]y" in done.output
    assert "a\\x1b[2J[/b]" in done.output


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "'=1"])
def test_a_name_that_begins_a_formula_is_text_in_csv(tmp_path: Path, name: str) -> None:
    run = write_run(tmp_path / "run", with_names(ran(2), [name, "plain-1"]))
    done = run_command(export.command, run, "--to", "csv", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.exception
    with (tmp_path / "out" / "requests.csv").open(newline="") as file:
        assert [row["request_id"] for row in csv.DictReader(file)] == ["'" + name, "plain-1"]


@pytest.mark.parametrize("option", ["--html", "--json"])
def test_a_planted_link_is_not_written_through(tmp_path: Path, option: str) -> None:
    run, mine = write_run(tmp_path / "run", ran(2)), tmp_path / "mine"
    mine.write_text("mine")
    (tmp_path / ".out.partial").symlink_to(mine)
    assert run_command(report.command, run, option, tmp_path / "out").exit_code == 0
    assert mine.read_text() == "mine"
    assert (tmp_path / "out").stat().st_size > 4


@pytest.mark.lengthy
def test_a_full_disk_leaves_no_half_of_run_json(tmp_path: Path) -> None:
    """The limit on a file's size is the disk here."""
    run = write_run(tmp_path / "run", ran(2))
    program = f"""
import resource, signal
from pathlib import Path
from engine_probe.record.run_folder import RunFolder
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    RunFolder(Path({str(run)!r}), {{"much": "x" * 1000}}).save()
except OSError as error:
    print(error.strerror)
"""
    before = sorted(run.iterdir())
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "File too large\n", done.stderr
    assert sorted(run.iterdir()) == before


def test_a_sentence_about_a_long_value_fits_a_screen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "run", ran(2))
    (run / "run.json").write_text('{"schema_version": "' + "x" * 100_000 + '"}')
    monkeypatch.setattr(sys, "argv", ["engine_probe", "report", str(run)])
    with pytest.raises(SystemExit, match="2"):
        cli.main()
    said = capsys.readouterr().err
    assert len(said) < 1_100
    assert said.endswith("if it is not damaged\n")
