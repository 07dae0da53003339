"""Data parallelism: several engine cores on one virtual clock, among which vLLM's own balancer divides one load.

Of models without experts, vLLM's data-parallel cores are engines of their own that share nothing but the load: so each
is a twin with its own scheduler and KV pool. Cores compute at the same time. A step of one is taken when no other core
has anything to do before, and its outputs are held until the clock gets there; so the clock goes back between steps,
but never for whoever gives the requests.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from engine_probe.engine.engine_spec import EngineSpec
from engine_probe.engine.parallelism import DATA
from engine_probe.engine.twin.build import IN_STEP, build_twin, check_twin
from engine_probe.engine.twin.settings import Twin
from engine_probe.engine.twin.virtual_clock import VirtualClock
from engine_probe.errors import InputError, UnavailableError

if TYPE_CHECKING:
    from vllm import LLM

TOLD_EVERY_NS = 100_000_000  # vLLM's coordinator tells the balancer the counts of all cores at most this often


class Core:
    """One core: an engine with a moment of its own."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.moment_ns = 0  # when its last step ends
        self.arrivals_ns = 0  # that requests which arrived since then take of its host, before its next step
        self.held: list[Any] | None = None  # outputs of a step that ends at that moment
        self.steps = 0
        self.counts: tuple[int, int, float] = (0, 0, 0.0)  # waiting, running, share of the KV pool: at its last end

    @property
    def is_busy(self) -> bool:
        return self.held is not None or bool(self.engine.has_unfinished_requests())

    @property
    def next_ns(self) -> int:
        """Return when it has something to do: to deliver what its last step computed, or to begin another."""
        return self.moment_ns + (self.arrivals_ns if self.held is None else 0)

    def step(self, clock: VirtualClock) -> None:
        clock.set_to(self.next_ns)
        self.arrivals_ns = 0
        self.held = self.engine.step()
        self.moment_ns = clock.now_ns()
        self.steps += 1

    def deliver(self) -> list[Any]:
        """Return the outputs of the step that ends now."""
        outputs, self.held = self.held or [], None
        scheduler = self.engine.engine_core.engine_core.scheduler
        running, waiting = scheduler.get_request_counts()
        self.counts = waiting, running, scheduler.get_kv_cache_usage()
        return outputs


def in_order(core: Core) -> tuple[int, bool]:
    """Order cores by what they do next: the earlier first, and of what comes at the same time the ends of steps."""
    return core.next_ns, core.held is None


class Balancer:
    """What vLLM's client of data-parallel cores knows when it chooses one; the choice is made by its own method."""

    client_count = 1

    def __init__(self, cores: int) -> None:
        from vllm.v1.engine.core_client import DPLBAsyncMPClient

        self._choose = DPLBAsyncMPClient.get_core_engine_for_request
        if "engine_inflight" not in self._choose.__code__.co_names:
            raise UnavailableError(
                f"engine.arguments.{DATA} = {cores}: how this vLLM divides requests among cores is not known here: "
                "install a version that `engine_probe doctor` names"
            )
        self.core_engines = list(range(cores))
        self.engine_inflight: Counter[int] = Counter()
        self.reqs_in_flight: dict[str, int] = {}
        self.eng_start_index = 0
        self.lb_engines: list[list[float]] = [[0, 0, 0.0] for _ in self.core_engines]
        self._told: list[tuple[int, int, float]] = []
        self._told_ns = 0

    def choose(self, request_id: str) -> int:
        asked = SimpleNamespace(request_id=request_id, data_parallel_rank=None, pooling_params=None)
        chosen: int = self._choose(self, asked)
        return chosen

    def ended(self, request_id: str) -> None:
        if (core := self.reqs_in_flight.pop(request_id, None)) is not None:
            self.engine_inflight[core] -= 1

    def tell(self, counts: list[tuple[int, int, float]], now_ns: int) -> None:
        """Take the cores' counts, if they have changed and the last ones are old enough."""
        if now_ns >= self._told_ns + TOLD_EVERY_NS and counts != self._told:
            self._told, self._told_ns = counts, now_ns
            self.lb_engines = [list(each) for each in counts]


class DataParallelEngine:
    """Has what a driver asks of an `LLMEngine`."""

    def __init__(self, engines: Sequence[Any], clock: VirtualClock) -> None:
        self._clock, self._cores, self._balancer = clock, [Core(each) for each in engines], Balancer(len(engines))
        self.vllm_config, self.model_config = engines[0].vllm_config, engines[0].model_config
        self.cores: dict[str, int] = {}  # of each request since `begin()`
        self.asked_tokens: dict[str, int] = {}  # the same ones' answers

    def begin(self) -> None:
        """Forget the requests and steps before."""
        self.cores.clear()
        self.asked_tokens.clear()
        for core in self._cores:
            core.steps = 0

    @property
    def steps(self) -> list[int]:
        """Return the steps of each core since `begin()`."""
        return [core.steps for core in self._cores]

    def engine_of(self, engine_id: str) -> Any:
        """Return the engine that has a request in flight, by the engine's own id of it; else the first one."""
        engines = [core.engine for core in self._cores]
        return next((each for each in engines if engine_id in each.output_processor.request_states), engines[0])

    def add_request(self, request_id: str, prompt: Any, parameters: Any) -> str:
        now_ns = self._clock.now_ns()
        self._balancer.tell([core.counts for core in self._cores], now_ns)
        number = self.cores[request_id] = self._balancer.choose(request_id)
        self.asked_tokens[request_id] = parameters.max_tokens
        core = self._cores[number]
        if not core.is_busy:
            core.moment_ns = max(core.moment_ns, now_ns)
        engine_id: str = core.engine.add_request(request_id, prompt, parameters)
        core.arrivals_ns += self._clock.now_ns() - now_ns
        self._clock.set_to(now_ns)  # other cores go on meanwhile
        return engine_id

    def abort_request(self, request_ids: list[str]) -> None:
        """Abort requests; what a step that is not over computed for them is never delivered."""
        for number, core in enumerate(self._cores):
            if own := [each for each in request_ids if self.cores[each] == number]:
                core.engine.abort_request(own)
                if core.held is not None:
                    core.held = [output for output in core.held if output.request_id not in own]
        for each in request_ids:
            self._balancer.ended(each)

    def step_until(self, until_ns: int | None) -> list[Any]:
        """Go on to the next end of a core's step and return its outputs, or to `until_ns` if that is before."""
        clock, now_ns = self._clock, self._clock.now_ns()
        while True:
            core = min((each for each in self._cores if each.is_busy), key=in_order)
            if until_ns is not None and now_ns < until_ns < core.next_ns:
                clock.set_to(until_ns)
                return []
            if core.held is None:
                core.step(clock)
                continue
            clock.set_to(core.moment_ns)
            outputs = core.deliver()
            for output in outputs:
                if output.finished:
                    self._balancer.ended(output.request_id)
            self._balancer.tell([each.counts for each in self._cores], core.moment_ns)
            return outputs

    def settle(self) -> None:
        """Let the clock go on to the end of every step that was begun."""
        for core in self._cores:
            self._clock.advance_to(core.moment_ns)


class DataParallelLLM:
    """Has what a sweep asks of a `vllm.LLM`."""

    def __init__(self, llms: Sequence[LLM], clock: VirtualClock) -> None:
        self.llms = llms
        self.llm_engine = DataParallelEngine([llm.llm_engine for llm in llms], clock)

    def get_tokenizer(self) -> Any:
        return self.llms[0].get_tokenizer()

    def reset_prefix_cache(self) -> bool:
        kept = [llm for llm in self.llms if not llm.reset_prefix_cache()]
        return not kept


def build_cores(
    spec: EngineSpec, number: int, twin: Twin, clock: VirtualClock, say: Callable[[str], None]
) -> DataParallelLLM:
    """Start a twin of so many data-parallel cores, each with the limits of one engine."""
    check_twin(spec, twin.acceptance)
    one = EngineSpec(spec.model, {name: value for name, value in spec.arguments.items() if name != DATA})
    llms = [build_twin(one, twin, clock, say, seed=rank) for rank in range(number)]
    for rank, llm in enumerate(llms):
        config = llm.llm_engine.vllm_config
        if config.model_config.is_moe:
            raise InputError(f"engine.arguments.{DATA} = {number}: {IN_STEP}")
        config.parallel_config.data_parallel_index = rank  # as vLLM marks such a core
    return DataParallelLLM(llms, clock)
