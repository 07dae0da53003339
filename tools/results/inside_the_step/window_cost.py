"""What a window of operators costs outside it: two like engines step in turns, one of them with a window.

Both are recorded and answer the same requests, so steps of the same number do the same work at nearly the same moment,
and which engine goes first is drawn for each. After half of the rounds the other engine has the window, so that what
differs between the engines cancels. `python -m tools.results.inside_the_step --only window` calls this.
"""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter_ns as now
from typing import Any

from engine_probe import Probe
from engine_probe.overhead.paired import SEED, PairedEstimate, estimate
from engine_probe.record.run_json import OperatorWindow
from tools.result_page import measured_here, table

SECTION = "## What a window of operators costs outside it\n"
ROUNDS = 40  # half of them with the window on either engine
REQUESTS, BEHIND = 4, 40  # steps behind the window
FIRST_DECODE = 2  # the steps before it compute the prompts
ARGUMENTS = {"max_model_len": 512, "enforce_eager": True, "block_size": 32, "num_gpu_blocks_override": 64}

Halves = list[list[float]]


def measured(engines: Sequence[Any], window: OperatorWindow, folder: Path) -> dict[str, PairedEstimate]:
    """Return by how much steps before the window and behind it took longer, as a share, with the number of pairs."""
    before: Halves = [[], []]
    behind: Halves = [[], []]
    order = random.Random(SEED)
    for number in range(ROUNDS):
        half = number * 2 // ROUNDS
        watched, plain = engines[half], engines[1 - half]
        place = folder / f"round-{number}"
        with Probe(watched, place / "with", operators=str(window)), Probe(plain, place / "without"):
            ratios = steps_in_turns(watched, plain, window.last + 1 + BEHIND, order)
        before[half] += ratios[FIRST_DECODE : window.first]
        behind[half] += ratios[window.last + 1 :]
    return {"before the window": estimate(before), "behind it": estimate(behind)}


def steps_in_turns(watched: Any, plain: Any, steps: int, order: random.Random) -> list[float]:
    """Return by how much longer each step of one engine took than the same step of the other."""
    from vllm import SamplingParams

    parameters = SamplingParams(max_tokens=steps, ignore_eos=True, temperature=0, detokenize=False)
    for engine in (watched, plain):
        for index in range(REQUESTS):
            engine.llm_engine.add_request(f"{index}", {"prompt_token_ids": [100 + index] * 16}, parameters)
    ratios = []
    while plain.llm_engine.has_unfinished_requests():
        times = {id(engine): step_ns(engine.llm_engine) for engine in order.sample((watched, plain), 2)}
        ratios.append(times[id(watched)] / times[id(plain)] - 1)
    while watched.llm_engine.has_unfinished_requests():  # it may need a step more to hand out its last answers
        watched.llm_engine.step()
    return ratios


def step_ns(engine: Any) -> int:
    before = now()
    engine.step()
    return now() - before


def window_lines(found: dict[str, PairedEstimate], window: OperatorWindow) -> Iterator[str]:
    """Say what steps outside the window took longer, with intervals."""
    pairs = ROUNDS * (window.first - FIRST_DECODE)
    yield SECTION
    yield "    python -m tools.results.inside_the_step --only window --write\n"
    yield (
        f"{measured_here('two `tiny` engines in one process')}. They step in turns, one with a window of "
        f"{window.steps} steps; {ROUNDS} rounds, after half of which the roles are swapped; {pairs:,} pairs of steps "
        "before the window. By how much the steps with a window took longer, medians with 95 % intervals:\n"
    )
    rows = ((name, f"{each.median:+.2%}", f"{each.low:+.2%} to {each.high:+.2%}") for name, each in found.items())
    yield from table(("steps", "longer by", "95 % interval"), rows)
    cost = any(each.low > 0 for each in found.values())
    most = max(each.high for each in found.values())
    yield f"\n{'A cost is seen.' if cost else f'No cost is seen; one of more than {most:.2%} would have been.'}\n"
    yield (
        "The window's own steps are in no latency, no step time and no throughput: `tests/analysis/run/"
        "test_left_out_window.py` holds it for each of them.\n"
    )
