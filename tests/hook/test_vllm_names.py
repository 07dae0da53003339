"""The installed vLLM has all names that the hooks rely on, and a missing name is reported."""

from __future__ import annotations

import ast
from importlib.util import find_spec
from pathlib import Path

import pytest

from engine_probe.hook.vllm_names import NAMES, PHASE_SEAMS, READ_ONCE, SO_FAR, missing_names

HOOK = Path(__file__).parents[2] / "engine_probe" / "hook"
SPEC = find_spec("vllm")
SOURCES = Path(SPEC.origin).parents[1] if SPEC and SPEC.origin else None


def read(path: str) -> str:
    assert SOURCES is not None
    return (SOURCES / path).read_text()


needs_sources = pytest.mark.skipif(SOURCES is None, reason="no vLLM is installed")


@pytest.mark.lengthy
@needs_sources
def test_the_installed_vllm_has_every_name() -> None:
    assert missing_names(read) == []
    assert missing_names(read, READ_ONCE) == []
    assert missing_names(read, PHASE_SEAMS) == []
    assert missing_names(read, SO_FAR) == []


@pytest.mark.lengthy
@needs_sources
@pytest.mark.parametrize(
    ("there", "gone", "said"),
    [
        ("def _preempt_request(", "def _throw_out(", "Scheduler has no _preempt_request"),
        ("self.running", "self.runners", "Scheduler has no running"),
        ("class Scheduler(", "class Planner(", "scheduler.py defines no Scheduler"),
        (
            "self.kv_holding_waiting",
            "self.holding",
            "has none of skipped_waiting / kv_holding_waiting deferred_waiting",
        ),
    ],
)
def test_a_name_that_is_gone_is_said(there: str, gone: str, said: str) -> None:
    assert there in read("vllm/v1/core/sched/scheduler.py"), "this test is about another vLLM"
    missing = missing_names(lambda path: read(path).replace(there, gone))
    assert len(missing) == 1
    assert said in missing[0]


def test_a_file_that_is_gone_is_said() -> None:
    def nothing(path: str) -> str:
        raise FileNotFoundError(path)

    assert len(missing_names(nothing)) == len(NAMES)


def test_what_is_only_a_local_variable_is_no_attribute() -> None:
    source = "class BlockPool:\n    def touch(self):\n        blocks = 3\n        self.enable_caching = True\n"
    missing = [line for line in missing_names(lambda path: source) if ": BlockPool " in line]
    assert any(line.endswith("no blocks") for line in missing)
    assert not any(line.endswith(("no touch", "no enable_caching")) for line in missing)


def test_whatever_the_hooks_replace_is_among_the_names() -> None:
    known = {name for names in (NAMES | PHASE_SEAMS).values() for name in names.split()}
    known.add("_handle_stopped_request")  # replaced only in a vLLM that has streaming sessions
    replaced = set()
    for path in HOOK.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Attribute(attr="replace"), args=[_, ast.Constant(value=str(name)), _]):
                    replaced.add(name)
                case ast.Call(func=ast.Attribute(attr="hook"), args=[_, ast.Constant(value=str(name)), *_]):
                    replaced.add(name)
                case ast.Call(func=ast.Name(id="_wrap"), args=[_, ast.Constant(value=str(name))]):
                    replaced.add(name)
    assert len(replaced) >= 16
    assert replaced <= known
