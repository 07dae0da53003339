"""The values of a request's rows are in the order of the table's columns."""

from __future__ import annotations

from types import SimpleNamespace

from engine_probe.hook.request_state import RequestState
from engine_probe.record.schema import SCHEMAS


def state() -> RequestState:
    request = SimpleNamespace(
        request_id="a", arrival_time=0.0, num_prompt_tokens=3, num_output_tokens=0, num_computed_tokens=0, priority=0
    )
    return RequestState(request, 5)


def test_a_request_s_row_names_the_columns_in_their_order() -> None:
    assert list(state().row(9)) == SCHEMAS["requests"].names


def test_a_preemption_s_row_names_the_columns_in_their_order() -> None:
    preempted = state()
    preempted.preempt(iteration=4, when=7, lost=3, held=2, before=8, after=6, cause="KV blocks")
    row = preempted.open_preemption
    assert row is not None
    assert list(row) == SCHEMAS["preemptions"].names
    assert (row["freed_blocks"], row["lost_tokens"], row["cause"]) == (2, 3, "KV blocks")
