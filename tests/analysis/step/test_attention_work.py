"""What a step attends to, counted pair by pair in a made-up engine, and what the recording tells of it."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from engine_probe.analysis.step.attention_work import attended, decode_contexts
from tests.support.recordings.small_tables import table

Make = Callable[..., pa.Table]


def test_a_step_of_answers_attends_to_all_live_tokens(iterations: Make, requests: Make) -> None:
    steps = iterations(
        1, kv_tokens_live=[300], decode_tokens=[3], scheduled_requests=[3], running_requests=[3], scheduled_tokens=[3]
    )
    found = attended(steps, requests())
    assert found.pairs.least == found.pairs.most == found.tokens.least == found.tokens.most == 300


def test_one_prompt_is_a_triangle(iterations: Make, requests: Make) -> None:
    """Four tokens attend to 1 + 2 + 3 + 4; four more, of the same prompt, to 5 + 6 + 7 + 8."""
    steps = iterations(
        2, kv_tokens_live=[4, 8], prefill_tokens=[4, 4], scheduled_requests=[1, 1], running_requests=[1, 1]
    )
    found = attended(steps, requests())
    assert found.pairs.least.tolist() == found.pairs.most.tolist() == [10, 26]


def test_two_prompts_lie_between_the_even_split_and_one_alone(iterations: Make, requests: Make) -> None:
    """3 + 3 tokens are 6 + 6 pairs, 6 tokens of one prompt would be 21."""
    steps = iterations(1, kv_tokens_live=[6], prefill_tokens=[6], scheduled_requests=[2], running_requests=[2])
    found = attended(steps, requests())
    assert (found.pairs.least[0], found.pairs.most[0]) == (12, 21)


def test_prompts_in_one_step_are_known_from_their_rows(iterations: Make, requests: Make) -> None:
    """Of two prompts of 4 and 6 the second found 2 in the cache: 10 pairs, and 4 x 2 + 10."""
    steps = iterations(1, kv_tokens_live=[10], prefill_tokens=[8], scheduled_requests=[2], running_requests=[2])
    rows = [
        {"prompt_tokens": prompt, "cached_tokens": cached, "first_scheduled_ns": 0, "first_token_iteration": 0}
        for prompt, cached in ((4, 0), (6, 2))
    ]
    found = attended(steps, requests(*rows))
    assert found.pairs.least.tolist() == found.pairs.most.tolist() == [28]


def test_answers_beside_a_prompt_are_told_apart_by_their_stretches(iterations: Make, requests: Make) -> None:
    """r0 has a prompt of 10; in step 3 its third token attends to 12. The rest of the 32 live tokens is a prompt."""
    steps = iterations(
        4,
        kv_tokens_live=[10, 11, 12, 33],
        decode_tokens=[0, 1, 1, 1],
        prefill_tokens=[10, 0, 0, 20],
        scheduled_requests=[1, 1, 1, 2],
        running_requests=[1, 1, 1, 2],
    )
    row = {"prompt_tokens": 10, "output_tokens": 4, "queued_ns": 0, "run_starts": [0], "run_lengths": [4]}
    found = attended(steps, requests(row))
    assert found.pairs.least.tolist() == found.pairs.most.tolist() == [55, 11, 12, 13 + 210]
    open_ = attended(steps, requests())  # the request has no row: step 3 is known within bounds
    assert open_.pairs.least[3] == 13 + 210 < open_.pairs.most[3]


def test_contexts_of_stretches(requests: Make) -> None:
    """A request that was thrown out begins its second stretch by computing its tokens again."""
    rows = [
        {"prompt_tokens": 5, "queued_ns": 0, "run_starts": [0, 4], "run_lengths": [2, 3]},
        {"prompt_tokens": 5, "queued_ns": 0, "run_starts": [0, 4], "run_lengths": [2, 3], "preemptions": 1},
        {"prompt_tokens": 9, "queued_ns": None, "run_starts": [0], "run_lengths": [7]},  # there before the probe
    ]
    count, contexts = decode_contexts(requests(*rows), 8)
    assert count.tolist() == [0, 2, 0, 0, 1, 2, 2, 0]
    assert contexts.tolist() == [0, 12, 0, 0, 7, 16, 18, 0]


def test_accepted_drafts_lengthen_the_contexts_of_all_later_steps(requests: Make) -> None:
    """A prompt of 5 tokens; steps 1 and 5 give 3 and 2 tokens: those of steps 1, 2, 5 and 6 attend to 6, 9, 10, 12."""
    rows = [
        {"prompt_tokens": 7, "queued_ns": 0, "run_starts": [0], "run_lengths": [2]},
        {
            "prompt_tokens": 5,
            "queued_ns": 0,
            "run_starts": [0, 5],
            "run_lengths": [3, 2],
            "burst_iterations": [1, 5],
            "burst_tokens": [3, 2],
        },
    ]
    count, contexts = decode_contexts(requests(*rows), 8)
    assert count.tolist() == [0, 2, 1, 0, 0, 1, 1, 0]
    assert contexts.tolist() == [0, 6 + 8, 9, 0, 0, 10, 12, 0]


class Engine:
    """Chunked prompts and answers under one token budget; every pair is counted as it happens."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.budget = chance.choice([8, 16, 40])
        self.waiting = [
            {"prompt": chance.randint(1, 30), "wanted": chance.randint(1, 12), "out": 0, "at": []}
            for _ in range(chance.randint(1, 12))
        ]
        for request in self.waiting:  # a third found part of their prompt in the prefix cache
            request["done"] = request["cached"] = chance.choice([0, 0, request["prompt"] // 2])
        self.running: list[dict[str, Any]] = []
        self.steps: list[dict[str, int]] = []
        self.rows: list[dict[str, Any]] = []
        self.truth: list[tuple[int, int]] = []  # pairs, tokens attended to
        self.at_once: list[int] = []  # prompts computed from their first token to their last

    def run(self) -> None:
        while self.waiting or self.running:
            self.step()

    def step(self) -> None:
        left, pairs, scheduled, prefill, decode, seen, at_once = self.budget, 0, 0, 0, 0, 0, 0
        passed_over = {id(request) for request in self.running if self.chance.random() < 0.05}
        for request in [*self.running, *self.waiting]:
            if id(request) in passed_over or not left:
                continue
            if request in self.waiting:
                self.waiting.remove(request)
                self.running.append(request)
                request["began"] = 10 * len(self.steps)
            continues = request["out"] > 0
            count = 1 if continues else min(left, request["prompt"] - request["done"])
            left -= count
            pairs += sum(request["done"] + number + 1 for number in range(count))
            request["done"] += count
            request["busy"] = True
            seen += request["done"]
            at_once += not continues and count == request["prompt"] - request["cached"]
            scheduled += 1
            decode += continues
            prefill += 0 if continues else count
        self.steps.append(
            {
                "start_ns": 10 * len(self.steps),
                "kv_tokens_live": sum(request["done"] for request in self.running),
                "scheduled_requests": scheduled,
                "running_requests": len(self.running),
                "decode_tokens": decode,
                "prefill_tokens": prefill,
            }
        )
        self.truth.append((pairs, seen))
        self.at_once.append(at_once)
        for request in list(self.running):
            if request.pop("busy", False) and request["done"] >= request["prompt"]:
                request["at"].append(len(self.steps) - 1)
                request["out"] += 1
                if request["out"] == request["wanted"]:
                    self.running.remove(request)
                    self.rows.append(self.row(request))

    @staticmethod
    def row(request: dict[str, Any]) -> dict[str, Any]:
        starts: list[int] = []
        lengths: list[int] = []
        for at in request["at"]:
            if starts and at == starts[-1] + lengths[-1]:
                lengths[-1] += 1
            else:
                starts, lengths = [*starts, at], [*lengths, 1]
        return {
            "prompt_tokens": request["prompt"],
            "cached_tokens": request["cached"],
            "queued_ns": 0,
            "first_scheduled_ns": request["began"],
            "first_token_iteration": request["at"][0],
            "run_starts": starts,
            "run_lengths": lengths,
        }


@pytest.mark.parametrize("seed", range(60))
def test_the_truth_lies_within_the_bounds(seed: int) -> None:
    """Whole, and with a third of the requests cut off without a row."""
    chance = random.Random(seed)
    engine = Engine(chance)
    engine.run()
    steps = table("iterations", engine.steps)
    pairs, seen = (np.array(values) for values in zip(*engine.truth, strict=True))
    some = [row for row in engine.rows if chance.random() < 2 / 3]
    for rows in (engine.rows, some):
        found = attended(steps, table("requests", rows))
        assert (found.pairs.least <= pairs).all()
        assert (found.pairs.most >= pairs).all()
        assert (found.tokens.least <= seen).all()
        assert (found.tokens.most >= seen).all()
    exact = attended(steps, table("requests", engine.rows)).pairs
    column = {name: steps[name].to_numpy() for name in steps.column_names}
    whole = column["running_requests"] == column["scheduled_requests"]
    pieces = column["scheduled_requests"] - column["decode_tokens"] - np.array(engine.at_once)
    assert (exact.least == exact.most)[whole & (pieces <= 1)].all()  # at most one prompt in pieces
