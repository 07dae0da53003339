"""What a twin's steps give requests with drafts, without vLLM."""

from __future__ import annotations

from itertools import pairwise

import pytest

from engine_probe.engine.twin.drafts.acceptance import Acceptance, falling
from engine_probe.engine.twin.drafts.drafting import Drafts


def test_as_many_drafts_are_accepted_as_are_given() -> None:
    acceptance, number = Acceptance((0.8, 0.5, 0.1), (0.9, 0.9, 0.4)), 20_000
    for most, method, shares in (
        (3, acceptance.tokens, (0.8, 0.5, 0.1)),
        (2, acceptance.tokens, (0.8, 0.5, 0.0)),
        (3, acceptance.length, (0.9, 0.9, 0.4)),
    ):
        found = [method(most, "a request", place) for place in range(number)]
        for place, share in enumerate(shares, 1):
            reached = sum(each >= place for each in found) / number
            assert reached == pytest.approx(share, abs=4 * (0.25 / number) ** 0.5)
    same = [acceptance.tokens(3, key, 5) for key in ("a", "b", "a")]
    assert same[0] == same[2]


def test_neighbouring_places_and_requests_are_independent() -> None:
    half = Acceptance((0.5,))
    for found in (
        [half.tokens(1, 7, place) for place in range(10_000)],
        [half.tokens(1, name, 7) for name in range(10_000)],
    ):
        alike = sum(one == other for one, other in pairwise(found)) / len(found)
        assert alike == pytest.approx(0.5, abs=0.02)


def test_a_step_gives_its_own_token_and_the_accepted_ones() -> None:
    drafts = Drafts(Acceptance((1.0, 1.0, 0.0)), most=3)
    drafts.note("a-1234", [1, 2])
    drafts.note("b-1234", [1, 2])
    assert drafts.places(["a-1234", "b-1234"], {"b-1234"}, {}) == [range(1), range(0)]
    assert [len(each) for each in drafts.take().values()] == [3, 0]
    assert drafts.places(["a-1234"], set(), {"a-1234": [8, 8, 8]}) == [range(1, 4)]
    assert drafts.places(["a-1234"], set(), {"a-1234": [8]}) == [range(4, 6)]
    assert drafts.places(["a-1234"], set(), {"a-1234": [-1, -1, -1]}) == [range(6, 7)]  # fills the batch
    assert drafts.places(["a-1234"], set(), {}) == [range(7, 8)]
    drafts.forget(["a-1234", "never scheduled"])


def test_drafts_of_a_device_are_known_to_it_alone() -> None:
    """With asynchronous scheduling a step holds places for drafts: of those that were made, some are accepted."""
    drafts = Drafts(Acceptance((1.0, 1.0, 0.0), (1.0, 1.0, 0.0)), most=3, are_asynchronous=True)
    drafts.note("a-1234", [1, 2])
    assert drafts.places(["a-1234"], set(), {}) == [range(1)]
    assert drafts.places(["a-1234"], set(), {"a-1234": [-1, -1, -1]}) == [range(1, 4)]
    assert drafts.places(["a-1234"], set(), {"a-1234": [-1]}) == [range(4, 6)]
    assert drafts.places(["a-1234"], {"a-1234"}, {}) == [range(0)]  # preempted, it computes its prompt again
    assert drafts.places(["a-1234"], set(), {"a-1234": [-1, -1, -1]}) == [range(6, 7)]  # none was made


def test_the_random_part_of_an_id_decides_nothing_and_the_prompt_does() -> None:
    def given(name: str, prompt: list[int]) -> list[range]:
        drafts = Drafts(Acceptance((0.5,)), most=1)
        drafts.note(name, prompt)
        return [drafts.places([name], set(), {name: [8]})[0] for _ in range(64)]

    assert given("7-aaaa", [1]) == given("7-bbbb", [1])
    assert given("7-aaaa", [1]) != given("7-aaaa", [2])
    assert given("7-aaaa", [1]) != given("8-aaaa", [1])


def test_shares_of_few_drafts_are_made_to_fall() -> None:
    assert falling([0.5, 0.6, 0.2]) == (0.5, 0.5, 0.2)
