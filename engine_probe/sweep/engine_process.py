"""The process that holds the engine: `python -m engine_probe.sweep.engine_process FOLDER PIPE < sweep.json`.

Its standard output and error are the engine's log; what it has to tell goes through the pipe.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from engine_probe.engine.build import build_llm
from engine_probe.engine.processes import die_with_parent
from engine_probe.errors import EngineProbeError
from engine_probe.probe import Probe
from engine_probe.sweep.messages import Began, Ended, Failed, Message, Said
from engine_probe.sweep.plan import Point, SweepFile, check_lengths, points

FIRST_TOKEN_ID, LAST_TOKEN_ID = 10, 250  # in the vocabulary of every model, and no special token
WARM_UP_TOKENS = 4


def prompts(point: Point) -> list[dict[str, list[int]]]:
    """Exact token lengths; the same seed gives the same bytes."""
    chance = random.Random(point.seed)
    return [
        {"prompt_token_ids": [chance.randint(FIRST_TOKEN_ID, LAST_TOKEN_ID) for _ in range(point.input_len)]}
        for _ in range(point.concurrency)
    ]


def measure_all(sweep: SweepFile, folder: Path, tell: Callable[[Message], None]) -> None:
    """Every point on one warm engine, each recorded into a folder of its own."""
    tell(Said(f"starting vLLM on {sweep.engine.model}"))
    llm = build_llm(sweep.spec, say=lambda text: tell(Said(text)))
    check_lengths(sweep, llm.llm_engine.model_config.max_model_len)
    todo = points(sweep)
    tell(Said("warming up"))
    generate(llm, msgspec.structs.replace(todo[0], concurrency=1, output_len=WARM_UP_TOKENS))
    for number, point in enumerate(todo):
        tell(Began(number))
        with Probe(llm, folder / "points" / point.key(sweep.spec), workload=msgspec.to_builtins(point)):
            generate(llm, point)
        tell(Ended(number))


def generate(llm: Any, point: Point) -> None:
    from vllm import SamplingParams

    parameters = SamplingParams(max_tokens=point.output_len, ignore_eos=True, temperature=0, seed=point.seed)
    llm.generate(prompts(point), parameters, use_tqdm=False)


def main() -> None:
    die_with_parent()
    folder, pipe = Path(sys.argv[1]), int(sys.argv[2])
    sweep = msgspec.json.decode(sys.stdin.buffer.read(), type=SweepFile)

    def tell(message: Message) -> None:
        os.write(pipe, msgspec.json.encode(message) + b"\n")

    try:
        measure_all(sweep, folder, tell)
    except EngineProbeError as error:
        tell(Failed(str(error), error.exit_code))
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
