"""Whatever vLLM passes to a replaced method reaches vLLM, and what the probe cannot read ends its recording alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import Any

import pytest

from engine_probe import IncompleteRecordingWarning, Probe
from tests.support.engines.scheduler_engine import core_of, generate, held

SCHEDULER = (
    "schedule",
    "update_from_output",
    "add_request",
    "_preempt_request",
    "_free_request",
    "_handle_stopped_request",
)
POOL = ("touch", "free_blocks", "_maybe_evict_cached_block", "reset_prefix_cache")
WORKER = ("execute_model", "sample_tokens")
# Their first argument is read; the others are passed on unread.
READ = tuple(name for name in (*SCHEDULER, *POOL, *WORKER) if name not in ("schedule", *POOL[3:], *WORKER[1:]))

Method = Callable[..., Any]
Change = Callable[[Method, Method], Method]  # of a method, and of the method as vLLM defines it


def owner_of(engine: Any, name: str) -> Any:
    core = core_of(engine)
    if name in WORKER:
        return core.model_executor.worker
    return core.scheduler if name in SCHEDULER else core.scheduler.kv_cache_manager.block_pool


@contextmanager
def changed(engine: Any, name: str, change: Change) -> Iterator[None]:
    """Put something around a method of vLLM's, or of the probe's if that is on it, and take it away again."""
    owner = owner_of(engine, name)
    mine = vars(owner).get(name)
    setattr(owner, name, change(getattr(owner, name), getattr(type(owner), name).__get__(owner)))
    try:
        yield
    finally:
        if mine is None:
            delattr(owner, name)
        else:
            setattr(owner, name, mine)


def passing_more(method: Method, vllm: Method) -> Method:
    if vllm.__name__ == "_preempt_request":  # an argument that may be left away follows the given ones
        return lambda *args, drop_stale_output=False: method(*args, drop_stale_output, "more", unknown="more")
    return lambda *args, **kwargs: method(*args, "more", unknown="more", **kwargs)


def taking_more(method: Method, vllm: Method) -> Method:
    def newer(*args: Any, unknown: str, **kwargs: Any) -> Any:
        assert (args[-1], unknown) == ("more", "more")
        return method(*args[:-1], **kwargs)

    return newer


def passing_by_name(method: Method, vllm: Method) -> Method:
    return lambda *args, **kwargs: method(**signature(vllm).bind(*args, **kwargs).arguments)


def passing_by_other_names(method: Method, vllm: Method) -> Method:
    def newer(*args: Any, **kwargs: Any) -> Any:
        named = signature(vllm).bind(*args, **kwargs).arguments
        return method(**{f"new_{name}": value for name, value in named.items()})

    return newer


def taking_by_other_names(method: Method, vllm: Method) -> Method:
    return lambda **kwargs: method(**{name.removeprefix("new_"): value for name, value in kwargs.items()})


def unchanged(method: Method, vllm: Method) -> Method:
    return method


@pytest.fixture(scope="module")
def bare(engine: Any) -> dict[str, list[int]]:
    engine.reset_prefix_cache()
    return generate(engine)


def record(engine: Any, out: Path, name: str, passing: Change, taking: Change) -> tuple[Probe, dict[str, list[int]]]:
    """Generate with the probe between a vLLM that passes arguments in one way and one that takes them so."""
    engine.reset_prefix_cache()
    before = held(engine)
    with changed(engine, name, taking), Probe(engine, out) as probe, changed(engine, name, passing):
        answers = generate(engine)
        engine.reset_prefix_cache()
    assert held(engine) == before
    return probe, answers


@pytest.mark.parametrize("name", [*SCHEDULER, *POOL, *WORKER])
def test_arguments_that_the_probe_does_not_know(
    engine: Any, bare: dict[str, list[int]], tmp_path: Path, name: str
) -> None:
    probe, answers = record(engine, tmp_path / "run", name, passing_more, taking_more)
    assert answers == bare
    assert probe.run.status == "complete", probe.run.facts["failure"]


@pytest.mark.parametrize("name", READ)
def test_every_argument_by_name(engine: Any, bare: dict[str, list[int]], tmp_path: Path, name: str) -> None:
    probe, answers = record(engine, tmp_path / "run", name, passing_by_name, unchanged)
    assert answers == bare
    assert probe.run.status == "complete", probe.run.facts["failure"]


@pytest.mark.parametrize("name", READ)
def test_an_argument_of_another_name_ends_the_recording_alone(
    engine: Any, bare: dict[str, list[int]], tmp_path: Path, name: str
) -> None:
    with pytest.warns(IncompleteRecordingWarning, match="KeyError"):
        probe, answers = record(engine, tmp_path / "run", name, passing_by_other_names, taking_by_other_names)
    assert answers == bare
    assert probe.run.status == "incomplete"
    assert generate(engine) == bare


def test_a_preempted_request_that_the_probe_never_saw_ends_the_recording_alone(
    engine: Any, bare: dict[str, list[int]], tmp_path: Path
) -> None:
    probe = Probe(engine, tmp_path / "run")

    def forgetting(method: Method, vllm: Method) -> Method:
        def preempt(request: Any, *args: Any, **kwargs: Any) -> Any:
            assert probe.recording is not None
            assert probe.recording.hook is not None
            probe.recording.hook._requests.states.pop(request.request_id, None)
            return method(request, *args, **kwargs)

        return preempt

    def generate_while_it_forgets() -> dict[str, list[int]]:
        with probe, changed(engine, "_preempt_request", forgetting):
            return generate(engine)

    engine.reset_prefix_cache()
    with pytest.warns(IncompleteRecordingWarning, match="KeyError"):
        answers = generate_while_it_forgets()
    assert answers == bare
    assert probe.run.status == "incomplete"
