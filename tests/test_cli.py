"""The command line as typed: what is wrong is said in one line, with exit code 2."""

from __future__ import annotations

import subprocess
import sys

import pytest

from engine_probe.cli import COMMANDS, main


def typed(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "engine_probe", *words], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["swep"], "there is no command swep: did you mean sweep?"),
        (["xyz"], "there is no command xyz: engine_probe --help lists them"),
        (["sweep", "--lst"], "there is no option --lst: did you mean --list?"),
        pytest.param(
            ["sweep", "smok"], "there is no sweep 'smok': did you mean smoke?", marks=pytest.mark.lengthy, id="sweep"
        ),
    ],
)
def test_a_wrong_word_meets_the_nearest_right_one(words: list[str], sentence: str) -> None:
    done = typed(*words)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert done.stdout == ""


def test_help_lists_every_command() -> None:
    done = typed("--help")
    assert done.returncode == 0
    for name, line in COMMANDS.items():
        assert f"  {name}" in done.stdout
        assert line in " ".join(done.stdout.split())


def test_ctrl_c_is_one_word_and_the_exit_code_of_a_shell(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("engine_probe.commands.models.all_models", interrupted)
    monkeypatch.setattr(sys, "argv", ["engine_probe", "models"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 130
    assert capsys.readouterr().err == "interrupted\n"
