"""What keeping answers costs a real engine: `python -m engine_probe.overhead.answers --model smollm2`.

Runs of the same requests on one engine take turns: with checksums alone, tokens, text, and tokens with
log-probabilities. Each is compared with the run of checksums in its own round, by the CPU time of the whole process.
The model computes log-probabilities (a softmax over the vocabulary and the two largest), and vLLM makes them into
Python numbers.
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from statistics import median
from time import process_time_ns
from typing import Any

from engine_probe.engine.build import build_llm
from engine_probe.engine.engine_spec import EngineSpec
from engine_probe.record.outside_values import Misfits, batch_of_rows
from engine_probe.record.schema import STREAMS
from engine_probe.workload.answers import AnswerLog, KeepAnswers
from engine_probe.workload.arrivals import ClosedLoop
from engine_probe.workload.prompts import RandomPrompts
from engine_probe.workload.request_plan import Plan
from engine_probe.workload.workload_run import plan_for, run_plan
from engine_probe.workload.workload_spec import Workload

KINDS = {
    "checksums": KeepAnswers(),
    "tokens": KeepAnswers("tokens"),
    "text": KeepAnswers("text"),
    "tokens and log-probabilities": KeepAnswers("tokens", logprobs=True),
}
INPUT_LEN, OUTPUT_LEN = 32, 64


def measure(llm: Any, concurrency: int, rounds: int) -> dict[str, list[float]]:
    """Return for each kind what it takes beyond the checksums of its round, as a share of them."""
    work = Workload(RandomPrompts(INPUT_LEN), ClosedLoop(concurrency), output_len=OUTPUT_LEN, num_prompts=concurrency)
    plan = plan_for(llm, work)
    cpu_ns(llm, plan, KINDS["checksums"])
    found: dict[str, list[float]] = {name: [] for name in KINDS}
    for number in range(rounds):
        names = [*KINDS] if number % 2 else [*reversed(KINDS)]  # a drift within a round then favours none
        taken = {name: cpu_ns(llm, plan, KINDS[name]) for name in names}
        for name in KINDS:
            found[name].append(taken[name] / taken["checksums"] - 1)
    return found


def cpu_ns(llm: Any, plan: Plan, kept: KeepAnswers) -> int:
    """Return the CPU time of a run with its rows turned into Arrow."""
    rows: list[tuple[Any, ...]] = []
    decode = partial(llm.get_tokenizer().decode, skip_special_tokens=True) if kept.keep == "text" else None
    before = process_time_ns()
    run_plan(llm, plan, answers=AnswerLog(rows.append, kept, lambda _: None, decode))
    batch_of_rows(rows, STREAMS["answers"], "answers", Misfits())
    return process_time_ns() - before


def quartiles(shares: Sequence[float]) -> tuple[float, float]:
    ordered = sorted(shares)
    return ordered[len(ordered) // 4], ordered[-1 - len(ordered) // 4]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m engine_probe.overhead.answers", description=__doc__)
    parser.add_argument("--model", default="smollm2", help="an embedded model or a folder (default: smollm2)")
    parser.add_argument("--concurrency", type=int, default=16, help="requests in flight (default: 16)")
    parser.add_argument("--rounds", type=int, default=8, help="runs of each kind (default: 8)")
    options = parser.parse_args()
    llm = build_llm(EngineSpec(options.model, {"max_model_len": 512, "enforce_eager": True}))
    print(f"CPU time beyond that of checksums, {options.model}, {options.concurrency} in flight, median and quartiles")
    for name, shares in measure(llm, options.concurrency, options.rounds).items():
        low, high = quartiles(shares)
        print(f"{name:32}{median(shares):>+9.1%}   {low:+.1%} to {high:+.1%}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
