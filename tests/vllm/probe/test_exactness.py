"""Every row equals what an independent witness counted from scratch, however the engine is used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from engine_probe.hook.vllm_versions import installed_vllm

Run = Callable[..., Any]
_, VERSION = installed_vllm() or ("", "")
SMALL = {"block_size": 32, "num_gpu_blocks_override": 64, "max_model_len": 512, "enforce_eager": True}


def exact(answer: dict[str, Any]) -> dict[str, Any]:
    assert answer["differences"] == []
    assert answer["failure"] is None
    assert answer["status"] == "complete"
    assert answer["close"]["requests_with_unknown_token_times"] == 0
    assert answer["worker_tokens"]
    return answer


@pytest.mark.parametrize("caching", [True, False], ids=["prefix cache", "no prefix cache"])
def test_a_storm_beside_vllms_own_statistics(in_own_process: Run, caching: bool) -> None:
    arguments = {
        **SMALL,
        "enable_prefix_caching": caching,
        "max_num_batched_tokens": 128,
        "disable_log_stats": False,
        "enable_logging_iteration_details": True,
    }
    lines = "from tests.support.engines.scenarios import *\nanswer = storm(llm, statistics=True)"
    answer = exact(in_own_process("tiny", arguments, lines))
    totals = answer["totals"]
    assert answer["known_passes"] == 1
    assert totals["preempted_requests"] == len(answer["preemptions"]) > 0
    assert totals["resumed_requests"] > 0
    assert (totals["cached_tokens"] > 0) is caching
    assert (answer["peaks"]["kv_blocks_shared"] > 0) is caching
    lost = sum(row["lost_tokens"] for row in answer["preemptions"])
    assert 0 < totals["recomputed_tokens"] == sum(row["recomputed_tokens"] for row in answer["preemptions"]) <= lost


def test_several_answers_aborts_stop_tokens_and_late_comers(in_own_process: Run) -> None:
    lines = """
from tests.support.engines.scenarios import *
answer = [several_answers(llm), aborts(llm), stop_tokens(llm), late_comers(llm)]
"""
    arguments = {**SMALL, "max_num_batched_tokens": 160, "max_num_seqs": 24}
    several, aborted, stopped, late = map(exact, in_own_process("tiny", arguments, lines))
    assert several["known_passes"] == stopped["known_passes"] == 1
    assert min(aborted["known_passes"], late["known_passes"]) > 0.9  # steps with prompts that were aborted are not
    assert len(several["reasons"]) == 18
    assert aborted["reasons"].count("abort") == 7
    assert aborted["totals"]["left_waiting_requests"] > 0
    assert aborted["totals"]["preempted_requests"] > 0
    assert stopped["reasons"].count("stop") > 0
    assert late["totals"]["arrived_requests"] == 60


def test_priority_scheduling(in_own_process: Run) -> None:
    lines = "from tests.support.engines.scenarios import *\nanswer = priorities(llm)"
    answer = exact(in_own_process("tiny", {**SMALL, "scheduling_policy": "priority"}, lines))
    assert answer["totals"]["preempted_requests"] > 0


@pytest.mark.skipif(VERSION.startswith("0.30."), reason="vLLM 0.30 cannot verify drafts on a CPU, probe or not")
def test_speculative_decoding_with_ngrams(in_own_process: Run) -> None:
    speculation = {"method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_max": 3, "prompt_lookup_min": 1}
    lines = "from tests.support.engines.scenarios import *\nanswer = repetitions(llm)"
    arguments = {**SMALL, "speculative_config": speculation, "disable_log_stats": False}
    answer = exact(in_own_process("tiny", arguments, lines))
    totals = answer["totals"]
    assert answer["draft_statistics"] > 0
    drafted, accepted = (sum(sum(row[name]) for row in answer["drafts"]) for name in ("drafted", "accepted"))
    assert drafted == totals["speculative_tokens"]
    assert 0 < accepted < drafted
    assert totals["speculative_tokens"] > 0
    assert totals["output_tokens"] == 16 * 70
    assert answer["bursts"] > 0


def test_structured_output(in_own_process: Run) -> None:
    lines = "from tests.support.engines.scenarios import *\nanswer = grammars(llm)"
    answer = exact(in_own_process("tiny", SMALL, lines))
    assert answer["totals"]["finished_requests"] == 16


def test_why_requests_wait(in_own_process: Run) -> None:
    lines = """
from tests.support.engines.scenarios import *
answer = {
    "MAX_NUM_SEQS": with_settings(llm, short(16), max_num_running_reqs=3, max_num_active_reqs=3),
    "MAX_NUM_ACTIVE_SEQS": with_settings(llm, short(16), max_num_active_reqs=3),
    "TOKEN_BUDGET": with_settings(llm, short(16), max_num_scheduled_tokens=50),
    "WATERMARK": with_settings(llm, short(40), watermark_blocks=30),
    "KV_BLOCKS": storm(llm),
    "PREFILL_INTERVAL": throttled(llm),
    "GRAMMAR": slow_grammars(llm),
    "PAUSE": interrupted(llm),
}
"""
    answers = in_own_process("tiny", {**SMALL, "max_num_seqs": 16, "num_gpu_blocks_override": 40}, lines)
    for reason, answer in answers.items():
        told = exact(answer)["waiting_reasons"]
        assert reason in told or (reason == "MAX_NUM_ACTIVE_SEQS" and VERSION < "0.31"), reason
    assert "PREEMPTION" in answers["KV_BLOCKS"]["waiting_reasons"]
    causes = {row["cause"] for row in answers["PAUSE"]["preemptions"]}
    assert causes == {"reset of the prefix cache", "reset of the prefix cache in a pause"}
