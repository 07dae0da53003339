"""Engines in processes of their own, forked from one that has imported vLLM already: the import is paid once."""

from __future__ import annotations

import json
import multiprocessing
import os
import traceback
from pathlib import Path
from typing import Any

from tests.support.command import ENGINE_SECONDS

# What an engine imports before it computes.
IMPORTS = (
    "engine_probe",
    "engine_probe.engine.build",
    "vllm",
    "vllm.v1.engine.llm_engine",
    "vllm.v1.engine.core",
    "vllm.v1.worker.cpu_worker",
    "vllm.v1.worker.cpu_model_runner",
    "vllm.model_executor.models.llama",
    "vllm.v1.structured_output",
)
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(list(IMPORTS))


def answer_of(folder: Path, model: str, arguments: dict[str, object], lines: str) -> Any:
    """Build an engine in a new process, run `lines` with `llm` and `SamplingParams`, and return their `answer`."""
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")  # is read where vLLM is imported
    process = SERVER.Process(target=work, args=(folder, model, arguments, lines))
    process.start()
    process.join(ENGINE_SECONDS)
    if process.is_alive():
        process.kill()
        process.join()
    log = (folder / "log").read_text(errors="replace") if (folder / "log").exists() else ""
    assert process.exitcode == 0, f"exit code {process.exitcode}: {log[-4000:]}"
    return json.loads((folder / "answer.json").read_text())


def work(folder: Path, model: str, arguments: dict[str, object], lines: str) -> None:
    """The new process: vLLM and its lines print into a file."""
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for stream in (1, 2):
        os.dup2(log, stream)
    try:
        from engine_probe.engine.build import build_llm
        from engine_probe.engine.spec import EngineSpec

        os.environ.pop("VLLM_ENABLE_V1_MULTIPROCESSING", None)
        llm = build_llm(EngineSpec(model, arguments))
        from vllm import SamplingParams

        scope = {"llm": llm, "SamplingParams": SamplingParams}
        exec(lines, scope)
        (folder / "answer.json").write_text(json.dumps(scope["answer"]))
    except BaseException:
        traceback.print_exc()
        raise SystemExit(1) from None
