"""Workers in the manner of vLLM's, with its two model runners, whose every phase takes a planted time."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from engine_probe.hook.workers import collectives, phases, step_rows

US = 1_000


def nothing() -> None:
    pass


class GraphMode(enum.Enum):
    """vLLM's CUDAGraphMode, as far as it is the mode of a batch."""

    NONE = 0
    PIECEWISE = 1
    FULL = 2


def without_graphs(tokens: int) -> tuple[GraphMode, int]:
    return GraphMode.NONE, tokens


def in_graphs(sizes: Sequence[int], mode: GraphMode) -> Callable[[int], tuple[GraphMode, int]]:
    """Return the dispatch of an engine with these capture sizes: how a batch runs, and with how many tokens."""

    def dispatch(tokens: int) -> tuple[GraphMode, int]:
        size = next((size for size in sizes if size >= tokens), None)
        return without_graphs(tokens) if size is None else (mode, size)

    return dispatch


@dataclass
class VirtualClock:
    """A clock that moves only when something takes time."""

    ns: int = 1_000_000_000

    def now(self) -> int:
        return self.ns

    def spend(self, ns: int) -> None:
        self.ns += ns

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for module in (collectives, phases, step_rows):
            monkeypatch.setattr(module, "now", self.now)


@dataclass(frozen=True)
class Planted:
    """How long the host takes for each phase of a step."""

    preparation: int = 100 * US
    forward: int = 500 * US
    logits: int = 20 * US
    sampling: int = 30 * US
    bookkeeping: int = 40 * US


@dataclass
class RunnerV1:
    """The order of vllm/v1/worker/gpu_model_runner.py."""

    clock: VirtualClock
    planted: Planted = field(default_factory=Planted)
    launch: Callable[[], object] = nothing  # what the device is given in the forward, ...
    sample: Callable[[], object] = nothing  # ... in sampling ...
    keep: Callable[[], object] = nothing  # ... and in bookkeeping
    dispatch: Callable[[int], tuple[Any, int]] = without_graphs

    def execute_model(self, scheduler_output: Any, intermediate_tensors: Any = None) -> Any:
        tokens = scheduler_output.total_num_scheduled_tokens
        self._determine_batch_execution_and_padding(num_tokens=tokens, num_reqs=1)
        self.clock.spend(self.planted.preparation)
        self._model_forward(input_ids=None, positions=None, unknown_to_the_probe=1)
        self.clock.spend(self.planted.logits)

    def _determine_batch_execution_and_padding(self, num_tokens: int, num_reqs: int) -> tuple[Any, ...]:
        mode, padded = self.dispatch(num_tokens)
        return mode, SimpleNamespace(num_tokens=padded, num_reqs=None), False, None, None

    def _model_forward(self, input_ids: Any = None, positions: Any = None, **more: Any) -> str:
        assert more == {"unknown_to_the_probe": 1}
        self.launch()
        self.clock.spend(self.planted.forward)
        return "hidden states"

    def sample_tokens(self, grammar_output: Any) -> str:
        self.clock.spend(self.planted.sampling)
        self.sample()
        self._bookkeeping_sync(None, sampler_output=None)
        return "tokens"

    def _bookkeeping_sync(self, scheduler_output: Any, sampler_output: Any) -> None:
        self.keep()
        self.clock.spend(self.planted.bookkeeping)


class StepTiming:
    """vLLM's StepTimingCollector, which measures nothing outside vLLM's own calibration."""

    def record_batch(self, input_batch: Any, full_cudagraph: bool) -> None:
        pass

    def forward_start(self) -> None:
        pass


@dataclass
class RunnerV2:
    """The order of vllm/v1/worker/gpu/model_runner.py."""

    clock: VirtualClock
    planted: Planted = field(default_factory=Planted)
    launch: Callable[[], object] = nothing
    sample: Callable[[], object] = nothing
    keep: Callable[[], object] = nothing
    step_timing: StepTiming = field(default_factory=StepTiming)
    dispatch: Callable[[int], tuple[Any, int]] = without_graphs

    def prepare_inputs(self, scheduler_output: Any, batch_req_state: Any, batch_desc: Any) -> Any:
        return SimpleNamespace(num_tokens_after_padding=batch_desc.num_tokens)

    def execute_model(self, scheduler_output: Any, intermediate_tensors: Any = None) -> Any:
        mode, padded = self.dispatch(scheduler_output.total_num_scheduled_tokens)
        self.prepare_inputs(scheduler_output, None, SimpleNamespace(cg_mode=mode, num_tokens=padded))
        self.clock.spend(self.planted.preparation)
        self.step_timing.record_batch(None, True)
        self.step_timing.forward_start()
        self.launch()
        self.clock.spend(self.planted.forward)

    def sample_tokens(self, grammar_output: Any) -> str:
        self.sample()
        self.keep()
        self.clock.spend(self.planted.logits + self.planted.sampling + self.planted.bookkeeping)
        return "tokens"


class Worker:
    """A rank's worker."""

    def __init__(self, runner: Any, rank: int = 0, device: str = "cpu") -> None:
        self.model_runner, self.rank = runner, rank
        self.device = SimpleNamespace(type=device, index=rank)

    def execute_model(self, scheduler_output: Any) -> Any:
        return self.model_runner.execute_model(scheduler_output)

    def sample_tokens(self, grammar_output: Any) -> Any:
        return self.model_runner.sample_tokens(grammar_output)


def scheduled(tokens: int) -> Any:
    return SimpleNamespace(total_num_scheduled_tokens=tokens)


def run_step(worker: Worker, tokens: int = 1) -> str:
    """Run a step as vLLM's engine core does, and return its tokens."""
    assert worker.execute_model(scheduled(tokens)) is None
    answer: str = worker.sample_tokens(None)
    return answer
