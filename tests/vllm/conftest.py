"""One real engine per configuration: all share `tiny_llm`; others run in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import ENGINE_SECONDS

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]

# Small enough that a handful of requests fill the pool: 63 usable blocks of 32 tokens.
TINY_ARGUMENTS = {
    "block_size": 32,
    "num_gpu_blocks_override": 64,
    "enable_prefix_caching": False,
    "max_model_len": 512,
    "enforce_eager": True,
}

# What a process of its own runs: build what it is told, run the given lines with `llm` and `SamplingParams`,
# and write `answer` to a file of its own, because vLLM talks on both streams.
PROGRAM = """
import json, sys
sys.path.insert(0, ROOT)
if __name__ == "__main__":
    model, arguments, lines, out = json.loads(sys.argv[1])
    from engine_probe.engine.build import build_llm
    from engine_probe.engine.spec import EngineSpec
    llm = build_llm(EngineSpec(model, arguments))
    from vllm import SamplingParams
    scope = {"llm": llm, "SamplingParams": SamplingParams}
    exec(lines, scope)
    with open(out, "w") as file:
        json.dump(scope["answer"], file)
"""


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: HERE not in item.path.parents)  # the longest first, so that all workers end together
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.vllm)
            item.add_marker(pytest.mark.timeout(2 * ENGINE_SECONDS))
            if find_spec("vllm") is None:
                item.add_marker(pytest.mark.skip(reason="no vLLM is installed"))


@pytest.fixture(scope="session")
def tiny_llm() -> Iterator[Any]:
    """A real `vllm.LLM` in this process, on the embedded tiny."""
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    from engine_probe.engine.build import build_llm
    from engine_probe.engine.spec import EngineSpec

    llm = build_llm(EngineSpec("tiny", TINY_ARGUMENTS))
    yield llm
    llm.llm_engine.engine_core.shutdown()


@pytest.fixture
def in_own_process(tmp_path: Path) -> Callable[..., Any]:
    """`in_own_process(model, arguments, lines)`: what they leave in `answer`, with an engine of its own."""

    def run(model: str, arguments: dict[str, object], lines: str) -> Any:
        out = tmp_path / "answer.json"
        program = tmp_path / "program.py"
        program.write_text(f"ROOT = {str(ROOT)!r}{PROGRAM}")
        command = [sys.executable, str(program), json.dumps([model, arguments, lines, str(out)])]
        environment = {**os.environ, "VLLM_LOGGING_LEVEL": "WARNING"}
        environment.pop("VLLM_ENABLE_V1_MULTIPROCESSING", None)
        outcome = subprocess.run(command, capture_output=True, text=True, timeout=ENGINE_SECONDS, env=environment)
        assert outcome.returncode == 0, outcome.stderr[-4000:]
        return json.loads(out.read_text())

    return run


@pytest.fixture(scope="session")
def engine() -> Iterator[Any]:
    """A real scheduler with prefix caching over an executor that computes nothing: a second to start."""
    from tests.support.scheduler_engine import scheduler_engine

    engine = scheduler_engine()
    yield engine
    engine.engine_core.shutdown()
