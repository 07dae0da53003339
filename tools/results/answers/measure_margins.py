"""Measure how margins of an embedded model move: by numerics alone, and by a wrong KV block.

Usage: `python -m tools.results.answers.measure_margins tests/support/answers/measured_margins.json --model smollm2`,
in the root of the repository and from an environment with vLLM. Simulated answers take their noise and their faults
from this file.
"""

import argparse
import json
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from engine_probe.analysis.answers.integrity.aligned_answers import AnswerPair, aligned
from engine_probe.analysis.answers.integrity.request_verdicts import compare
from engine_probe.engine.build import build_llm
from engine_probe.engine.engine_spec import EngineSpec
from engine_probe.workload.prompts import RandomPrompts
from engine_probe.workload.question_set.chat_tokens import chat_encoder
from engine_probe.workload.question_set.question_file import read_question_sets
from engine_probe.workload.question_set.question_prompts import messages
from engine_probe.workload.request_plan import Plan, Request, Session
from engine_probe.workload.workload_run import plan_for
from engine_probe.workload.workload_spec import Sampling, Workload
from tests.support.answers.engine_answers import engine_answers
from tests.support.answers.planted_faults import WrongBlock, planted_faults

COMMAND = "python -m tools.results.answers.measure_margins tests/support/answers/measured_margins.json --model {model}"
PROMPTS, TOKENS = 32, 32
RANDOM_TOKENS = 100
BLOCK = 32  # tokens
BLOCKS = 49  # so that BUSY requests preempt each other and CALM ones do not
CALM, BUSY = 4, 16  # concurrent requests
ENGINE = {
    "block_size": BLOCK,
    "num_gpu_blocks_override": BLOCKS,
    "enable_prefix_caching": False,
    "max_model_len": 512,
    "enforce_eager": True,
}


def random_plan(llm: Any) -> Plan:
    """Return a plan of random tokens, for a model that was taught nothing."""
    prompts = RandomPrompts(RANDOM_TOKENS)
    return plan_for(llm, Workload(prompts, output_len=TOKENS, num_prompts=PROMPTS, max_concurrency=CALM))


def question_plan(llm: Any) -> Plan:
    """Return a plan of the first questions that are no conversation."""
    encode = chat_encoder(llm.get_tokenizer(), "english")
    single = [each for each in read_question_sets(["english", "french"]) if not each.turns][:PROMPTS]
    sessions = [
        Session([Request(str(number), encode(messages(question))[0], TOKENS, question.id)], 0)
        for number, question in enumerate(single)
    ]
    return Plan(sessions, Sampling(), 0, None, 0, CALM, [])


def neighbours(first: int) -> list[WrongBlock]:
    """Return a fault for every other request, whose donor is the request behind it, at different tokens."""
    return [
        WrongBlock(str(victim), 4 + victim // 2, str((victim + 1) % PROMPTS)) for victim in range(first, PROMPTS, 2)
    ]


def moves(pair: AnswerPair, begin: int = 0) -> list[float]:
    """Return how far each margin moved, up to the first divergent token."""
    assert pair.logprobs
    mine, theirs = pair.logprobs
    moved = theirs.margins[begin : pair.common] - mine.margins[begin : pair.common]
    return np.round(moved, 4).tolist()


def effects(plan: Plan, pairs: dict[str, AnswerPair], faults: list[WrongBlock]) -> Iterator[dict[str, Any]]:
    """Yield what each wrong block did to the margins from its token on, and to the first divergent token."""
    for fault in faults:
        pair = pairs[fault.victim]
        if not fault.hit or pair.common < fault.token or pair.logprobs is None:
            continue
        token, needed = pair.first_difference, None
        if token is not None:
            needed = round(float(sum(each.margins[token] for each in pair.logprobs)), 4)
        swaps = token is not None and pair.swaps_the_best_two(token)
        yield {
            "same_tokens": same_tokens(plan, int(fault.victim), int(fault.donor)),
            "moves": moves(pair, fault.token),
            "needed_shift": needed,
            "swaps_the_best_two": swaps,
        }


def same_tokens(plan: Plan, victim: int, donor: int) -> int:
    """Return how many tokens of the first block both prompts have at the same place."""
    mine, theirs = (plan.sessions[number].requests[0].prompt_token_ids[:BLOCK] for number in (victim, donor))
    return sum(map(int.__eq__, mine, theirs))


PLANS = {"smollm2": question_plan, "tiny": random_plan}


def measured(llm: Any, model: str) -> dict[str, Any]:
    plan = PLANS[model](llm)
    reference = engine_answers(llm, plan)
    busy = engine_answers(llm, msgspec.structs.replace(plan, max_concurrency=BUSY))
    clean, blocks = aligned(reference, busy), []
    for faults in (neighbours(0), neighbours(1)):
        with planted_faults(llm, faults):
            damaged = engine_answers(llm, plan)
        blocks += effects(plan, {pair.other.prompt_id: pair for pair in aligned(reference, damaged).pairs}, faults)
    verdicts = compare([clean])
    return {
        "origin": [
            f"margins, noise and wrong blocks: {model} in BF16 on vLLM's CPU build ({platform.machine()}), "
            f"{len(clean.pairs)} requests at concurrency {CALM} and at {BUSY} with preemptions; "
            f"`{COMMAND.format(model=model)}`",
        ],
        "requests": len(clean.pairs),
        "changed": sum(each.changed for each in verdicts.comparisons),
        "margins": [np.round(pair.logprobs[0].margins, 4).tolist() for pair in clean.pairs if pair.logprobs],
        "noise": [moves(pair) for pair in clean.pairs],
        "wrong_blocks": blocks,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("file", type=Path, help="is written")
    parser.add_argument("--model", choices=PLANS, default="smollm2", help="trained, or of random weights [smollm2]")
    asked = parser.parse_args()
    found = measured(build_llm(EngineSpec(asked.model, ENGINE)), asked.model)
    asked.file.write_text(json.dumps(found, separators=(",", ":")).replace('],"', '],\n"') + "\n")
    print(f"{found['requests']} requests, {found['changed']} changed, {len(found['wrong_blocks'])} wrong blocks")


if __name__ == "__main__":
    main()
