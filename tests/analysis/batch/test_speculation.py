"""What was accepted of drafts, from steps small enough for the head."""

from collections.abc import Callable

import pyarrow as pa

from engine_probe.analysis.batch.speculation import measured_acceptance, speculation
from engine_probe.engine.twin.drafts.acceptance import Acceptance
from tests.support.recordings.small_tables import table

Make = Callable[..., pa.Table]


def test_acceptance_by_position_and_the_tokens_of_a_step(iterations: Make) -> None:
    """Three drafts of 3, 3 and 1 tokens, of which 3, 1 and none were given; ten requests decoded in all."""
    steps = iterations(3, decode_tokens=[2, 2, 6])
    rows = [
        {"iteration": 0, "drafted": [3, 1], "accepted": [3]},
        {"iteration": 1, "drafted": [3], "accepted": [1]},
        {"iteration": 3, "drafted": [3], "accepted": [3]},  # a step that the recording does not hold
    ]
    found = speculation(steps, table("drafts", rows))
    assert found is not None
    assert (found.drafts, found.drafted_tokens, found.accepted_tokens) == (3, 7, 4)
    assert [(each.drafted, each.accepted) for each in found.positions] == [(3, 2), (2, 1), (2, 1)]
    assert found.positions[0].share == 2 / 3
    assert (found.share, found.accepted_length, found.tokens_per_step) == (4 / 7, 4 / 3, 1.4)


def test_a_twin_accepts_what_was_accepted_in_all_runs(iterations: Make) -> None:
    """Of ten answer steps, three drafts reach the first place, and two the others; then five more drafts of one."""
    steps = iterations(2, decode_tokens=[2, 8])
    found = speculation(
        steps, table("drafts", [{"iteration": 0, "drafted": [3, 1], "accepted": [3]}, {"iteration": 1, "drafted": [3]}])
    )
    more = speculation(
        iterations(1, decode_tokens=[10]), table("drafts", [{"drafted": [1, 1, 1, 1, 1], "accepted": [1]}])
    )
    assert found is not None
    assert more is not None
    assert measured_acceptance([found], "a run") == Acceptance((1 / 3, 1 / 3, 1 / 3), (0.3, 0.2, 0.2), "a run")
    assert measured_acceptance([found, more], "runs") == Acceptance((0.25, 0.25, 0.25), (0.4, 0.1, 0.1), "runs")
    assert measured_acceptance([], "runs") is None


def test_nothing_accepted_is_a_position_without_a_share(iterations: Make) -> None:
    found = speculation(iterations(1, decode_tokens=[2]), table("drafts", [{"drafted": [2, 2]}]))
    assert found is not None
    assert [each.share for each in found.positions] == [0, 0]
    assert found.tokens_per_step == 1


def test_without_drafts_nothing_is_said(iterations: Make) -> None:
    assert speculation(iterations(1, decode_tokens=[2]), table("drafts", [])) is None
    assert speculation(iterations(1), table("drafts", [{"drafted": [2]}])) is None
