"""Every way an engine runs: its core in another process, in a server, on two ranks, scheduling ahead."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from engine_probe import load
from engine_probe.plugin import FORCE_VARIABLE, RECORD_VARIABLE
from tests.support.engines.forked_engine import output_of, run_program, start
from tests.support.engines.witness import broken_laws

SMALL = {"block_size": 32, "num_gpu_blocks_override": 64, "max_model_len": 512, "enforce_eager": True}

BEGIN = """
import sys
if __name__ == "__main__":
    from engine_probe.engine.cpu.amx import amx_requested
    from engine_probe.engine.build import build_llm, llm_arguments
    from engine_probe.engine.engine_spec import EngineSpec
    import vllm
    from vllm import SamplingParams
    arguments = {arguments!r}
    prompts = [dict(prompt_token_ids=[10 + (7 * i + j) % 200 for j in range(40 + i)]) for i in range(24)]
    parameters = SamplingParams(max_tokens=60, ignore_eos=True, temperature=0)
"""

OFFLINE = (
    BEGIN
    + """
    llm = build_llm(EngineSpec("tiny", arguments), multiprocess=True)
    from engine_probe import InputError, Probe
    try:
        Probe(llm, "never").__enter__()
    except InputError as error:
        print("refused:", error)
    outputs = llm.generate(prompts, parameters, use_tqdm=False)
    print("tokens", sum(len(output.outputs[0].token_ids) for output in outputs))
    llm.llm_engine.engine_core.shutdown()
"""
)

SERVER = (
    BEGIN
    + """
    import asyncio
    from vllm.v1.engine.async_llm import AsyncLLM
    from vllm.engine.arg_utils import AsyncEngineArgs
    async def answer(engine, name, prompt, leave_after):
        told = 0
        async for output in engine.generate(prompt, parameters, name):
            told = len(output.outputs[0].token_ids)
            if told >= leave_after:
                break  # as a client that hangs up
        return told
    async def serve():
        with amx_requested():
            engine = AsyncLLM.from_engine_args(AsyncEngineArgs(**llm_arguments(EngineSpec("tiny", arguments), print)))
        first = [answer(engine, "a%d" % i, prompt, 1000) for i, prompt in enumerate(prompts)]
        told = sum(await asyncio.gather(*first))
        await asyncio.sleep(0.6)  # nothing to do for a while, as servers have
        second = [answer(engine, "b%d" % i, prompt, 7 if i % 2 else 1000) for i, prompt in enumerate(prompts)]
        await asyncio.gather(*second)
        print("tokens", told)
        engine.shutdown()
    asyncio.run(serve())
"""
)


@pytest.fixture
def printed_by(tmp_path: Path) -> Callable[..., str]:
    """`printed_by(text, **environment)`: what a program prints in a process of its own."""

    def run(text: str, **environment: str) -> str:
        return output_of(start(tmp_path / "log", run_program, text, {}, **environment), tmp_path / "log")

    return run


def tokens_told(printed: str) -> int:
    (line,) = [line for line in printed.splitlines() if line.startswith("tokens ")]
    return int(line.split()[1])


def test_the_core_in_another_process_is_recorded_when_asked_for(printed_by: Callable[..., str], tmp_path: Path) -> None:
    printed = printed_by(OFFLINE.format(arguments=SMALL), **{RECORD_VARIABLE: str(tmp_path / "recorded")})
    run = load(tmp_path / "recorded")
    assert "engine_probe records this engine into" in printed
    assert "refused: this engine runs in another process (vLLM's default), where a Probe cannot reach it" in printed
    assert run.status == "complete"
    assert broken_laws(run) == []
    assert sum(run.iterations["output_tokens"].to_pylist()) == tokens_told(printed) == 24 * 60
    assert run.requests.num_rows == 24
    assert run.facts["process"]["pid"] != os.getpid()
    assert run.workers["scheduled_tokens"].to_pylist() == run.iterations["scheduled_tokens"].to_pylist()


@pytest.mark.slow
def test_nothing_is_recorded_unless_asked_for(printed_by: Callable[..., str], tmp_path: Path) -> None:
    printed = printed_by(OFFLINE.format(arguments=SMALL))
    assert tokens_told(printed) == 24 * 60
    assert "engine_probe records" not in printed
    assert not list(tmp_path.glob("**/run.json"))


@pytest.mark.slow
def test_a_long_lived_async_engine(printed_by: Callable[..., str], tmp_path: Path) -> None:
    printed = printed_by(SERVER.format(arguments=SMALL), **{RECORD_VARIABLE: str(tmp_path / "recorded")})
    run = load(tmp_path / "recorded")
    assert run.status == "complete"
    assert broken_laws(run) == []
    rows = run.requests.to_pylist()
    assert sum(row["output_tokens"] for row in rows if row["request_id"].startswith("a")) == tokens_told(printed)
    reasons = [row["finish_reason"] for row in rows if row["request_id"].startswith("b")]
    assert reasons.count("abort") == 12
    assert reasons.count("length") == 12
    assert max(run.iterations["gap_ns"].to_pylist()) > 0.5e9  # the pause


@pytest.mark.slow
def test_a_recording_that_cannot_be_is_said_and_the_engine_goes_on(
    printed_by: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("a file where the folder should be")
    printed = printed_by(OFFLINE.format(arguments=SMALL), **{RECORD_VARIABLE: str(tmp_path / "taken")})
    assert tokens_told(printed) == 24 * 60
    assert "engine_probe does not record this engine" in printed


@pytest.mark.slow
def test_a_rank_that_is_stopped_is_given_up_and_the_engine_is_left(
    printed_by: Callable[..., str], tmp_path: Path
) -> None:
    text = (
        BEGIN
        + """
    import os, signal
    from engine_probe import IncompleteRecordingWarning, Probe
    from engine_probe.hook.workers import calls
    calls.PATIENCE_SECONDS = 3
    llm = build_llm(EngineSpec("tiny", {{**arguments, "tensor_parallel_size": 2}}))
    def answers():
        outputs = llm.generate(prompts, parameters, use_tqdm=False)
        return [list(output.outputs[0].token_ids) for output in outputs]
    (rank,) = [w for w in llm.llm_engine.engine_core.engine_core.model_executor.workers if w.rank == 1]
    with Probe(llm, {out!r} + "/stopped"):
        first = answers()
        os.kill(rank.proc.pid, signal.SIGSTOP)
    print("left")
    os.kill(rank.proc.pid, signal.SIGCONT)
    with Probe(llm, {out!r} + "/next"):
        second = answers()
    print("tokens", sum(map(len, first)), "the same", first == second)
    llm.llm_engine.engine_core.shutdown()
"""
    )
    printed = printed_by(text.format(arguments=SMALL, out=str(tmp_path)), VLLM_CPU_OMP_THREADS_BIND="0|1")
    given_up = "the workers have not answered within 3 s: one of them is stuck"
    assert f"IncompleteRecordingWarning: {tmp_path}/stopped is incomplete: {given_up}" in printed
    assert "left\n" in printed
    assert f"tokens {24 * 60} the same True" in printed
    stopped, following = load(tmp_path / "stopped"), load(tmp_path / "next")
    assert stopped.status == "incomplete"
    assert given_up in stopped.notes[0]
    assert stopped.requests.num_rows == following.requests.num_rows == 24
    assert following.status == "complete", following.notes
    assert {row["rank"] for row in following.workers.to_pylist()} == {0, 1}


@pytest.mark.slow
def test_scheduling_ahead_of_the_updates(printed_by: Callable[..., str], tmp_path: Path) -> None:
    """AsyncScheduler and its queue of batches, over an executor that computes nothing."""
    text = (
        BEGIN
        + """
    import os
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    from vllm import EngineArgs
    from vllm.v1.engine.llm_engine import LLMEngine
    from engine_probe import Probe
    from engine_probe.engine.null_executor import SubstituteExecutor
    from tests.support.engines.scenarios import drive, greedy, prompt
    from tests.support.engines.witness import Witness
    known = llm_arguments(EngineSpec("tiny", arguments), print)
    config = EngineArgs(**known, distributed_executor_backend=SubstituteExecutor).create_engine_config()
    config.scheduler_config.async_scheduling = True
    engine = LLMEngine(config, SubstituteExecutor, log_stats=False)
    core = engine.engine_core.engine_core
    witness = Witness(core)
    order = []
    schedule, update = core.scheduler.schedule, core.scheduler.update_from_output
    core.scheduler.schedule = lambda *a, **k: (order.append("S"), schedule(*a, **k))[1]
    core.scheduler.update_from_output = lambda *a, **k: (order.append("U"), update(*a, **k))[1]
    requests = [(str(i), prompt(i, 60), greedy(50)) for i in range(30)]
    late = {{20: [(str(i), prompt(i, 200), greedy(9)) for i in range(30, 36)]}}
    with Probe(engine, {out!r}) as probe:
        outputs = drive(engine, requests, late=late, aborts={{33: ["2", "35"]}})
    print("tokens", sum(len(output.outputs[0].token_ids) for output in outputs.values()))
    print("scheduler", type(core.scheduler).__name__, "".join(order[:8]))
    print("differences", witness.differences(probe.run))
"""
    )
    out = str(tmp_path / "run")
    printed = printed_by(text.format(arguments=SMALL, out=out))
    assert "scheduler AsyncScheduler SSUSUSUS" in printed
    assert "differences []" in printed
    run = load(out)
    assert run.status == "complete", run.notes
    assert run.facts["engine"]["asynchronous"]
    assert run.facts["close"]["requests_with_unknown_token_times"] == 0
    assert sum(run.iterations["preempted_requests"].to_pylist()) > 0


def test_an_unknown_vllm_is_consented_to_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    from engine_probe.errors import UnsupportedVersionError
    from engine_probe.hook import vllm_versions

    monkeypatch.setattr(vllm_versions, "installed_vllm", lambda: ("vllm", "0.99.1"))
    with pytest.raises(UnsupportedVersionError, match=r"vllm 0\.99\.1 .*0\.28 to 0\.33.*--force"):
        vllm_versions.check_version(force=False)
    vllm_versions.check_version(force=True)
    assert FORCE_VARIABLE == "ENGINE_PROBE_FORCE"
