"""One real engine per configuration: all share `tiny_llm`; others run in processes of their own.

No file has everyday tests with both, so that no process imports vLLM twice
(`tests/support/processes/distribution.py`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.support.engines.forked_engine import answer_of, spare_the_cores
from tests.support.processes.command import ENGINE_SECONDS

HERE = Path(__file__).parent

# Small enough that a handful of requests fill the pool: 63 usable blocks of 32 tokens.
TINY_ARGUMENTS = {
    "block_size": 32,
    "num_gpu_blocks_override": 64,
    "enable_prefix_caching": False,
    "max_model_len": 512,
    "enforce_eager": True,
}


# The files that take longest begin, so that all workers end together. Those with several ranks, which wait for each
# other with a core each, stand apart, so that two workers do not run them at the same time.
LONGEST = (
    "test_sweep.py",
    "test_tensor_parallel.py",
    "test_out_of_memory.py",
    "test_fleet.py",
    "test_notebook_runs.py",
    "test_every_way.py",
    "test_engines.py",
    "test_answer_quality.py",
    "test_pipeline_parallel.py",
)


def turn(item: pytest.Item) -> tuple[bool, int]:
    """Return what a test's place in the order of all tests follows from."""
    name = item.path.name
    return HERE not in item.path.parents, LONGEST.index(name) if name in LONGEST else len(LONGEST)


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=turn)
    is_installed = find_spec("vllm") is not None
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.vllm)
            item.add_marker(pytest.mark.timeout(2 * ENGINE_SECONDS))
            if not is_installed:
                item.add_marker(pytest.mark.skip(reason="no vLLM is installed"))


@pytest.fixture(scope="session")
def vllm_here() -> None:
    """Import vLLM in this process."""
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    spare_the_cores()


@pytest.fixture(scope="session")
def tiny_llm(vllm_here: None) -> Iterator[Any]:
    """A real `vllm.LLM` in this process, on the embedded tiny."""
    from engine_probe.engine.build import build_llm
    from engine_probe.engine.engine_spec import EngineSpec

    llm = build_llm(EngineSpec("tiny", TINY_ARGUMENTS))
    yield llm
    llm.llm_engine.engine_core.shutdown()


@pytest.fixture
def in_own_process(tmp_path: Path) -> Callable[[str | None, dict[str, object], str], Any]:
    """`in_own_process(model, arguments, lines)`: what they leave in `answer`, with an engine of its own if any."""
    return partial(answer_of, tmp_path)


@pytest.fixture(scope="session")
def engine(vllm_here: None) -> Iterator[Any]:
    """A real scheduler with prefix caching over an executor that computes nothing: a second to start."""
    from tests.support.engines.scheduler_engine import scheduler_engine

    engine = scheduler_engine()
    yield engine
    engine.engine_core.shutdown()
