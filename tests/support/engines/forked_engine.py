"""Engines in processes of their own, forked from one that has imported vLLM already: the import is paid once."""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from tests.support.processes.command import ENGINE_SECONDS

# What an engine imports before it computes, a command that starts engines, and a rank of kernels_bench.
IMPORTS = (
    "engine_probe",
    "engine_probe.cli",
    "engine_probe.commands.sweep.cli",
    "engine_probe.engine.build",
    "engine_probe.plugin",
    "engine_probe.sweep.engine_process.worker",
    "kernels_bench.timing.rank_process",
    "pandas",  # by pyarrow, when it first looks for it
    "vllm",
    "vllm.distributed.elastic_ep.elastic_execute",
    "vllm.entrypoints.launchers.cli_args",
    "vllm.entrypoints.llm",
    "vllm.model_executor.layers.quantization.online.base",
    "vllm.model_executor.models.llama",
    "vllm.plugins.lora_resolvers.filesystem_resolver",
    "vllm.plugins.lora_resolvers.hf_hub_resolver",
    "vllm.renderers.hf",
    "vllm.triton_utils.dispatcher",
    "vllm.utils.cpu_triton_utils",
    "vllm.v1.attention.backends.cpu_attn",
    "vllm.v1.core.sched.scheduler",
    "vllm.v1.engine.core",
    "vllm.v1.engine.llm_engine",
    "vllm.v1.pool.flash_maxsim",
    "vllm.v1.structured_output",
    "vllm.v1.worker.cpu_model_runner",
    "vllm.v1.worker.cpu_worker",
    "tests.support.processes.preloaded",  # after all that it looks through
)
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(list(IMPORTS))


def start(log: Path, function: Callable[..., object], *arguments: Any, **environment: str) -> BaseProcess:
    """Call a function in a new process that prints into `log`.

    It has the variables of this process but those of vLLM and the probe, and the given ones.
    """
    return forked(print_into, log, clean_environment() | environment, function, arguments)


def forked(function: Callable[..., object], *arguments: Any) -> BaseProcess:
    """Call a function in a process that has imported vLLM."""
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")  # is read where vLLM is imported
    process = SERVER.Process(target=function, args=arguments)
    process.start()
    return process


def clean_environment() -> dict[str, str]:
    """Return the variables of this process but those of vLLM and the probe: tests with an engine here set some."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("VLLM_", "ENGINE_PROBE_RE"))}


def output_of(process: BaseProcess, log: Path) -> str:
    """Wait for the end of a process, which has to be a good one, and return what it printed."""
    process.join(ENGINE_SECONDS)
    if process.is_alive():
        process.kill()
        process.join()
    printed = log.read_text(errors="replace")
    assert process.exitcode == 0, f"exit code {process.exitcode}: {printed[-4000:]}"
    return printed


def answer_of(folder: Path, model: str | None, arguments: dict[str, object], lines: str) -> Any:
    """Build an engine in a new process, run `lines` with `llm` and `SamplingParams`, and return their `answer`.

    Without a model no engine is built, and `llm` is None.
    """
    log, answer = folder / "engine.log", folder / "answer.json"
    output_of(start(log, write_answer, answer, model, arguments, lines), log)
    return json.loads(answer.read_text())


def print_into(
    log: Path, environment: dict[str, str], function: Callable[..., object], arguments: tuple[Any, ...]
) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
    in_new_process(descriptor, environment, function, arguments)


def in_new_process(
    descriptor: int, environment: dict[str, str], function: Callable[..., object], arguments: tuple[Any, ...]
) -> None:
    """Call a function that prints into a file and has these variables alone."""
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    os.environ.clear()
    os.environ.update(environment)
    spare_the_cores()
    gc.freeze()  # vLLM collects five times while it starts, each time through all that was imported
    try:
        function(*arguments)
    except SystemExit:
        raise
    except BaseException:
        traceback.print_exc()
        raise SystemExit(1) from None
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def spare_the_cores() -> None:
    """Let engines of this process compute in one thread, and vLLM look at their models' classes in this process.

    A second thread takes a small model longer. To look at a class that it has not seen on this machine, vLLM starts an
    interpreter, which spares a GPU that no engine of these tests has.
    """
    import torch
    from vllm.model_executor.models import registry

    torch.set_num_threads(1)
    registry._run_in_subprocess = lambda look: look()


def fork_ranks() -> None:
    """Let vLLM fork its ranks from this process, as it does beside a GPU; on a CPU it starts an interpreter for each.

    Each computes in one thread, as this process does, and not in as many as the interpreter would have been told.
    """
    from vllm.v1.executor import multiproc_executor

    multiproc_executor.get_mp_context = lambda: multiprocessing.get_context("fork")


def write_answer(path: Path, model: str | None, arguments: dict[str, object], lines: str) -> None:
    from engine_probe.engine.build import build_llm
    from engine_probe.engine.engine_spec import EngineSpec

    if "tensor_parallel_size" in arguments:
        fork_ranks()
    llm = None if model is None else build_llm(EngineSpec(model, arguments))
    from vllm import SamplingParams

    scope = {"llm": llm, "SamplingParams": SamplingParams}
    exec(lines, scope)
    path.write_text(json.dumps(scope["answer"]))


def run_program(text: str, names: dict[str, Any]) -> None:
    """Run a program that has these names."""
    exec(compile(text, "program", "exec"), {"__name__": "__main__", **names})
