"""`%%probe` in a notebook: what it is given, and what it refuses before anything is recorded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from engine_probe import probe
from engine_probe.errors import IncompleteRecordingWarning, InputError
from engine_probe.notebook_magic import Asked, arguments, engine_of
from tests.support.processes.notebook_shell import notebook_shell

pytest.importorskip("IPython")

LLM = type("LLM", (), {"__module__": "vllm.entrypoints.llm"})


@pytest.fixture
def shell() -> Iterator[Any]:
    with notebook_shell(llm={"not": "an engine"}) as shell:
        yield shell


@pytest.mark.parametrize(
    ("line", "asked"),
    [
        ("", Asked(None, None)),
        ("llm", Asked("llm", None)),
        ("llm --out runs/first", Asked("llm", "runs/first")),
        ("--out='runs/my first' llm", Asked("llm", "runs/my first")),
    ],
)
def test_a_line_names_an_engine_and_a_folder(line: str, asked: Asked) -> None:
    assert arguments(line) == asked


@pytest.mark.parametrize(
    ("line", "named"),
    [("--out", "names no folder"), ("llm --outt x", "'--outt'"), ("a b", "'b'"), ("'a", "No closing quotation")],
)
def test_a_line_with_anything_else_is_refused(line: str, named: str) -> None:
    with pytest.raises(InputError, match=named):
        arguments(line)


def test_the_only_engine_need_not_be_named() -> None:
    llm = LLM()
    assert engine_of({"llm": llm, "the_same": llm, "_12": LLM(), "x": 1}, None) is llm
    with pytest.raises(InputError, match="several engines, a and b: name one"):
        engine_of({"a": LLM(), "b": LLM()}, None)
    with pytest.raises(InputError, match="finds no vLLM engine: build one in a cell before"):
        engine_of({"x": 1}, None)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("llm", "a dict is not a vLLM engine"),
        ("lllm", "%%probe lllm: nothing here has that name"),
        ("", "%%probe finds no vLLM engine"),
    ],
)
def test_a_refusal_is_one_sentence_and_the_cell_does_not_run(
    shell: Any, line: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    result = shell.run_cell(f"%%probe {line}\nran = True")
    assert type(result.error_in_exec).__name__ == "UsageError"
    assert "ran" not in shell.user_ns
    printed = "".join(capsys.readouterr())
    assert sentence in printed
    assert "Traceback" not in printed
    assert len(printed.strip().splitlines()) == 1


def test_a_cell_that_fails_where_nothing_could_be_recorded_shows_its_own_error(
    shell: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise AttributeError("what this vLLM does not have")

    monkeypatch.setattr(probe.engine_core, "find_core", fail)
    with pytest.warns(IncompleteRecordingWarning, match="nothing was recorded"):
        result = shell.run_cell("%%probe llm\n1 / 0")
    assert isinstance(result.error_in_exec, ZeroDivisionError)
    assert "recorded until then" not in capsys.readouterr().out
