"""A prefix cache has hooks of its own: one of them after the other fails when it marks its change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

CACHING = """
import sys, tempfile, warnings
from pathlib import Path
from engine_probe import Probe, load
from engine_probe.hook import scheduler
from engine_probe.hook.rare_events import RareEvents
pool = llm.llm_engine.engine_core.engine_core.scheduler.kv_cache_manager.block_pool
prompts = [{"prompt_token_ids": [10 + j % 150 for j in range(64 + 7 * (i % 9))] + [i]} for i in range(24)]
parameters = SamplingParams(max_tokens=44, ignore_eos=True, temperature=0)

def generate():
    llm.reset_prefix_cache()
    return [list(output.outputs[0].token_ids) for output in llm.generate(prompts, parameters, use_tqdm=False)]

class Wired(RareEvents):
    def __setattr__(self, name, value):
        if name == "changed" and sys._getframe(1).f_code.co_name == wired:
            raise RuntimeError("planted in " + wired)
        super().__setattr__(name, value)

bare, before, answer = generate(), set(vars(pool)), {}
scheduler.RareEvents = Wired
for wired in ("_touch", "_free_blocks", "_evict", "_reset_prefix_cache"):
    out = Path(tempfile.mkdtemp()) / "run"
    with warnings.catch_warnings(record=True) as warned, Probe(llm, out):
        warnings.simplefilter("always")
        same = generate() == bare
    told = [str(warning.message) for warning in warned if "IncompleteRecording" in warning.category.__name__]
    answer[wired] = [same, set(vars(pool)) == before, len(told), load(out).status, load(out).notes]
"""


def test_failures_in_the_hooks_on_a_prefix_cache(in_own_process: Callable[..., Any]) -> None:
    arguments = {"block_size": 32, "num_gpu_blocks_override": 40, "max_model_len": 512, "enforce_eager": True}
    answer = in_own_process("tiny", arguments, CACHING)
    assert len(answer) == 4
    for wired, (same, nothing_left, warned, status, notes) in answer.items():
        assert (same, nothing_left, warned, status) == (True, True, 1, "incomplete"), wired
        assert f"planted in {wired}" in notes[0]
