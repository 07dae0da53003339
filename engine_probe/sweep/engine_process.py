"""The process that holds the engine: `python -m engine_probe.sweep.engine_process PIPE < job.json`.

Its standard output and error are the engine's log; what it has to tell goes through the pipe.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import msgspec

from engine_probe.engine.build import build_llm
from engine_probe.engine.processes import die_with_parent
from engine_probe.engine.spec import EngineSpec
from engine_probe.errors import EngineProbeError
from engine_probe.probe import Probe
from engine_probe.sweep.messages import Began, Ended, Failed, Job, Message, Said
from engine_probe.sweep.plan import Point, check_length
from engine_probe.workload.driver import closed_loop
from engine_probe.workload.prompts import random_prompts

WARM_UP_TOKENS = 4


def measure_all(job: Job, tell: Callable[[Message], None]) -> None:
    """Every point on one warm engine, each recorded into a folder of its own."""
    tell(Said(f"starting vLLM on {job.model}"))
    llm = build_llm(EngineSpec(job.model, job.arguments), say=lambda text: tell(Said(text)))
    for point in job.points:
        check_length(point, llm.llm_engine.model_config.max_model_len)
    tell(Said("warming up"))
    generate(llm, msgspec.structs.replace(job.points[0], num_prompts=1, output_len=WARM_UP_TOKENS))
    for number, (point, folder) in enumerate(zip(job.points, job.folders, strict=True)):
        tell(Began(number))
        with Probe(llm, folder, force=job.force, workload=msgspec.to_builtins(point)):
            generate(llm, point)
        tell(Ended(number))


def generate(llm: Any, point: Point) -> None:
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    parameters = SamplingParams(
        max_tokens=point.output_len,
        ignore_eos=True,
        temperature=0,
        seed=point.seed,
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )
    prompts = random_prompts(point.num_prompts, point.input_len, point.seed)
    closed_loop(llm.llm_engine, prompts, parameters, point.concurrency)


def main() -> None:
    die_with_parent()
    pipe = int(sys.argv[1])
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)

    def tell(message: Message) -> None:
        os.write(pipe, msgspec.json.encode(message) + b"\n")

    try:
        measure_all(job, tell)
    except EngineProbeError as error:
        tell(Failed(str(error), error.exit_code))
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
