"""The probe on a real engine: same tokens, exact rows, nothing left behind."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any

import pytest

from engine_probe import InputError, Probe, load
from tests.support.engines.fixed_prompts import generate, tokens_of


@pytest.fixture(scope="module")
def recorded(tiny_llm: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Any], list[Any], Path]:
    """A storm: more requests than the KV pool holds, so some are preempted and come back."""
    folder = tmp_path_factory.mktemp("probe") / "run"
    without = generate(tiny_llm)
    with Probe(tiny_llm, folder):
        watched = generate(tiny_llm)
    return without, watched, folder


def test_tokens_are_the_same_with_and_without_the_probe(recorded: tuple[list[Any], list[Any], Path]) -> None:
    without, watched, _ = recorded
    assert tokens_of(watched) == tokens_of(without)


def test_nothing_is_left_on_the_scheduler(recorded: object, tiny_llm: Any) -> None:
    scheduler = tiny_llm.llm_engine.engine_core.engine_core.scheduler
    assert not {"schedule", "update_from_output", "add_request", "_preempt_request", "_free_request"} & set(
        vars(scheduler)
    )


def test_every_row_follows_from_the_row_before(recorded: tuple[list[Any], list[Any], Path]) -> None:
    run = load(recorded[2])
    assert run.status == "complete"
    assert run.facts["close"]["counter_audit"] == []
    running = waiting = 0
    preempted = 0
    for row in run.iterations.to_pylist():
        running += row["new_requests"] + row["resumed_requests"]
        running -= row["preempted_requests"] + row["left_running_requests"]
        waiting += row["arrived_requests"] + row["preempted_requests"]
        waiting -= row["new_requests"] + row["resumed_requests"] + row["left_waiting_requests"]
        assert (row["running_requests"], row["waiting_requests"] + row["deferred_requests"]) == (running, waiting)
        parts = row["prefill_tokens"] + row["decode_tokens"] + row["speculative_tokens"]
        assert row["scheduled_tokens"] == parts
        assert row["kv_blocks_scheduled"] <= run.facts["kv"]["blocks"]
        preempted += row["preempted_requests"]
    assert preempted > 0
    assert preempted == run.preemptions.num_rows


def test_requests_add_up_to_what_the_engine_returned(recorded: tuple[list[Any], list[Any], Path]) -> None:
    _, watched, folder = recorded
    run = load(folder)
    assert sum(run.iterations["output_tokens"].to_pylist()) == sum(map(len, tokens_of(watched)))
    for row in run.requests.to_pylist():
        assert sum(row["run_lengths"]) == row["output_tokens"] == 60
        assert row["queued_ns"] <= row["first_scheduled_ns"] < row["first_token_ns"] < row["last_token_ns"]
    assert run.workers["scheduled_tokens"].to_pylist() == run.iterations["scheduled_tokens"].to_pylist()


def test_a_folder_that_holds_a_run_is_refused(recorded: tuple[list[Any], list[Any], Path], tiny_llm: Any) -> None:
    with pytest.raises(InputError, match="never overwritten"), Probe(tiny_llm, recorded[2]):
        pass


def test_what_is_on_disk_can_be_looked_at_while_it_records(tiny_llm: Any, tmp_path: Path) -> None:
    with Probe(tiny_llm, tmp_path / "run", facts={"seed": 3}) as probe:
        assert "still recording, so far, no step" in repr(probe.run)
        generate(tiny_llm, count=4)
        assert "still recording, so far" in repr(probe.run)
        assert "still being recorded" in probe.run._repr_html_()
    assert "complete, " in repr(probe.run)
    assert probe.run.facts["seed"] == 3
    assert probe.run.summary().ttft.count == 4


def test_a_probe_records_once(tiny_llm: Any, tmp_path: Path) -> None:
    with Probe(tiny_llm, tmp_path / "run") as probe:
        generate(tiny_llm, count=1, tokens=2)
    with pytest.raises(InputError, match="make a new Probe for another recording"), probe:
        pass


def test_a_second_probe_is_refused(tiny_llm: Any, tmp_path: Path) -> None:
    with Probe(tiny_llm, tmp_path / "a"), pytest.raises(InputError, match="already has a probe"):
        Probe(tiny_llm, tmp_path / "b").__enter__()


def test_a_failure_in_the_probe_leaves_the_tokens_alone(
    recorded: tuple[list[Any], list[Any], Path],
    tiny_llm: Any,
    tmp_path: Path,
) -> None:
    without, _, _ = recorded

    class FailsAtTheFifth(deque[tuple[int, ...]]):
        calls = 0

        def append(self, row: tuple[int, ...]) -> None:
            self.calls += 1
            if self.calls == 5:
                raise RuntimeError("planted")
            super().append(row)

    probe = Probe(tiny_llm, tmp_path / "run")
    probe.recorder.iterations = FailsAtTheFifth()
    with pytest.warns(UserWarning, match="planted"), probe:
        watched = generate(tiny_llm)
    assert tokens_of(watched) == tokens_of(without)
    assert probe.run.status == "incomplete"
    assert "planted" in probe.run.facts["failure"]
