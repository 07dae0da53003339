"""The step that made a token, and what happened to its request before."""

from typing import Any

from engine_probe.analysis.answers.integrity.token_steps import TokenStep, TokenSteps
from tests.support.recordings.small_tables import table

FACTS = {"kv": {"blocks": 20}}


def steps(preemptions: list[dict[str, Any]], graph_modes: dict[int, int] | None = None) -> TokenSteps:
    """Return a run of ten steps, with a request that makes tokens in steps 1 to 3, and 6 to 9 after a preemption."""
    return TokenSteps(
        FACTS,
        table(
            "iterations",
            [
                {
                    "iteration": step,
                    "scheduled_requests": step + 1,
                    "prefill_tokens": 10 * step,
                    "kv_blocks_scheduled": step,
                }
                for step in range(10)
            ],
        ),
        table("requests", [{"request_id": "a", "run_starts": [1, 6], "run_lengths": [3, 4]}, {"request_id": "b"}]),
        table("preemptions", preemptions),
        table(
            "workers",
            [
                {"iteration": step, "rank": rank, "graph_mode": mode}
                for step, mode in (graph_modes or {}).items()
                for rank in (0, 1)
            ],
        ),
    )


PREEMPTED = {"request_id": "a", "iteration": 4, "resumed_iteration": 6, "recomputed_tokens": 12}


def test_a_tokens_step_is_found_across_a_preemption() -> None:
    run = steps([PREEMPTED])
    assert run.of_request("a").tolist() == [1, 2, 3, 6, 7, 8, 9]
    assert run.at("a", 2) == TokenStep(3, 4, 30, 0.15, preemptions=0, recomputed_tokens=0, graph_mode=None)
    assert run.at("a", 3) == TokenStep(6, 7, 60, 0.3, preemptions=1, recomputed_tokens=12, graph_mode=None)


def test_several_preemptions_add_up_in_the_order_of_time() -> None:
    later = {"request_id": "a", "iteration": 7, "resumed_iteration": 8, "recomputed_tokens": 30}
    run = steps([later, PREEMPTED])
    found = [run.at("a", token) for token in (4, 5)]
    assert [(step.preemptions, step.recomputed_tokens) for step in found if step] == [(2, 12), (2, 42)]


def test_a_preemption_without_return_recomputes_nothing() -> None:
    run = steps([PREEMPTED | {"resumed_iteration": None, "recomputed_tokens": 0}])
    step = run.at("a", 3)
    assert step is not None
    assert (step.preemptions, step.recomputed_tokens) == (1, 0)


def test_the_graph_mode_of_the_first_rank_speaks_for_all() -> None:
    step = steps([], {3: 2}).at("a", 2)
    assert step is not None
    assert step.graph_mode == "full graph"


def test_tokens_that_the_run_does_not_tell_have_no_step() -> None:
    run = steps([])
    assert run.at("a", 7) is None
    assert run.at("b", 0) is None
    assert run.at("unknown", 0) is None
