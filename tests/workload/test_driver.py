"""The closed loop, over an engine that answers as it is told."""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace

from engine_probe.workload.driver import closed_loop
from engine_probe.workload.prompts import random_prompts


class Engine:
    """Every request takes as many steps as its prompt is long."""

    def __init__(self) -> None:
        self.left: dict[str, int] = {}
        self.most = 0
        self.order: deque[str] = deque()

    def add_request(self, name: str, prompt: dict[str, list[int]], parameters: object) -> None:
        self.left[name] = len(prompt["prompt_token_ids"])
        self.order.append(name)
        self.most = max(self.most, len(self.left))

    def step(self) -> list[SimpleNamespace]:
        self.left = {name: steps - 1 for name, steps in self.left.items()}
        finished = [name for name, steps in self.left.items() if not steps]
        outputs = [SimpleNamespace(finished=name in finished) for name in self.left]
        for name in finished:
            del self.left[name]
        return outputs


def test_every_prompt_is_answered_and_never_more_in_flight_than_told() -> None:
    engine = Engine()
    closed_loop(engine, [[1] * length for length in (3, 1, 4, 1, 5)], None, most_in_flight=2)
    assert engine.left == {}
    assert engine.most == 2
    assert list(engine.order) == ["0", "1", "2", "3", "4"]


def test_nothing_to_ask_takes_no_step() -> None:
    closed_loop(Engine(), [], None, most_in_flight=2)


def test_a_seed_gives_the_same_prompts_and_fewer_are_the_first_of_more() -> None:
    assert random_prompts(3, 5, 7) == random_prompts(9, 5, 7)[:3]
    assert random_prompts(1, 5, 7) != random_prompts(1, 5, 8)
    assert {len(prompt) for prompt in random_prompts(4, 11, 0)} == {11}
