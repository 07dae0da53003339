"""Which core gets which request, and how many steps each takes: of vLLM's data-parallel cores, or of a twin of them.

    python -m tests.support.engines.data_parallel_cores real|twin

It prints a line of JSON. A request comes alone, then 24 at the same moment, then eight one after the other.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from engine_probe import load
from engine_probe.engine.models.embedded import tiny_folder
from engine_probe.plugin import RECORD_VARIABLE

CORES = 2
ENGINE = {
    "block_size": 32,
    "num_gpu_blocks_override": 65,
    "max_model_len": 256,
    "max_num_seqs": 8,
    "max_num_batched_tokens": 256,
    "enforce_eager": True,
    "enable_prefix_caching": False,
}
Request = tuple[int, int, int]  # its number, the tokens of its prompt and of its answer
FIRST: Request = (100, 20, 4)
TOGETHER: list[Request] = [(number, 20 + 7 * number % 60, 20 + 13 * number % 40) for number in range(24)]
ONE_BY_ONE: list[Request] = [(200 + number, tokens, answer) for number, tokens, answer in TOGETHER[:8]]


def asked(request: Request) -> tuple[str, dict[str, list[int]], Any]:
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    number, tokens, answer = request
    kind = RequestOutputKind.FINAL_ONLY
    given = SamplingParams(max_tokens=answer, ignore_eos=True, detokenize=False, temperature=0.0, output_kind=kind)
    return str(number), {"prompt_token_ids": [1 + number] * tokens}, given


async def real_cores() -> dict[str, int]:
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM

    size = {"data_parallel_size": CORES, "kv_cache_memory_bytes": 64 << 20}
    llm = AsyncLLM.from_engine_args(AsyncEngineArgs(model=str(tiny_folder()), **ENGINE, **size))
    client, found = llm.engine_core, dict[str, int]()
    choose = client.get_core_engine_for_request

    def noting(request: Any) -> Any:
        chosen = choose(request)
        found[request.request_id.rpartition("-")[0] or request.request_id] = client.core_engines.index(chosen)
        return chosen

    client.get_core_engine_for_request = noting

    async def answered(request: Request) -> None:
        name, prompt, given = asked(request)
        async for _ in llm.generate(prompt, given, request_id=name):
            pass

    await answered(FIRST)
    await asyncio.sleep(1.0)  # the coordinator tells counts every tenth of a second
    await asyncio.gather(*map(answered, TOGETHER))
    await asyncio.sleep(1.0)
    for request in ONE_BY_ONE:
        await answered(request)
    llm.shutdown()
    return found


def real() -> tuple[dict[str, int], list[int]]:
    os.environ["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"  # or the cores would share the same two
    with tempfile.TemporaryDirectory() as folder:
        os.environ[RECORD_VARIABLE] = folder
        cores, steps = asyncio.run(real_cores()), [0] * CORES
        for place in Path(folder).iterdir():
            run = load(place)
            rank = run.facts["engine"]["arguments"]["parallel_config"]["data_parallel_index"]
            steps[rank] = sum(tokens > 0 for tokens in run.iterations["scheduled_tokens"].to_pylist())
    return cores, steps


def twin() -> tuple[dict[str, int], list[int]]:
    from engine_probe.engine.engine_spec import EngineSpec
    from engine_probe.engine.twin.data_parallel import build_cores
    from engine_probe.engine.twin.settings import Twin
    from engine_probe.engine.twin.step_times import Price, StepTimes
    from engine_probe.engine.twin.virtual_clock import VirtualClock

    clock = VirtualClock()
    with clock.installed():
        times = Twin("a test", StepTimes({"step": Price(4e6)}), {"async_scheduling": False})
        engine = build_cores(EngineSpec("tiny", ENGINE), CORES, times, clock, print).llm_engine

        def answered(requests: list[Request]) -> None:
            for request in requests:
                engine.add_request(*asked(request))
            while any(core.is_busy for core in engine._cores):
                engine.step_until(None)

        answered([FIRST])
        clock.sleep(1.0)
        answered(TOGETHER)
        clock.sleep(1.0)
        for request in ONE_BY_ONE:
            answered([request])
        return engine.cores, engine.steps


if __name__ == "__main__":
    cores, steps = {"real": real, "twin": twin}[sys.argv[1]]()
    print(json.dumps({"cores": cores, "steps": steps}), flush=True)
