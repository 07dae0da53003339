"""What watching costs: the probe against vLLM's own statistics, on the real scheduler of this machine.

Every mode drives the same real `LLMEngine` and scheduler over an executor that computes nothing, in one process, in
short alternating blocks. A figure is the median over rounds of (block with the mode on - neighbouring block
with nothing on), of each block's median step, so that drift of the machine falls out.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter_ns as now
from typing import Any

from engine_probe.probe import Probe

RUNNING = (1, 32, 256, 1024)
ROUNDS = 15
BLOCK_SECONDS = 0.15  # a block of steps of one mode; short against the drift of a shared machine
PROMPT_TOKENS = 64
SNAPSHOT_SECONDS = 0.2
DISK_ITERATIONS = 4_096
DISK_SECONDS = 4.0


@dataclass(frozen=True)
class Cost:
    """One number of running requests, all modes."""

    running: int
    rounds: int
    steps_per_block: int
    step_ns: float  # engine.step() with nothing on
    schedule_ns: float  # of which schedule()
    probe_counted_ns: float  # what the probe counts of itself
    probe_ns: float  # what the clock outside says, as are the next two
    statistics_ns: float  # disable_log_stats=False
    details_ns: float  # and enable_logging_iteration_details
    snapshot_ns: float  # one metrics snapshot every 200 ms, its cost spread over the steps between two
    disk_bytes: float  # per iteration, closed file
    disk_iterations: int

    @property
    def cheaper_than_statistics(self) -> float:
        return self.statistics_ns / self.probe_ns if self.probe_ns > 0 else float("nan")


class Engines:
    """Three real engines over substitute executors: nothing on, statistics on, iteration details too."""

    def __init__(self, model: str, most_running: int) -> None:
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
        self._model, self._most = model, most_running
        self.plain = self._build(log_stats=False)
        self.statistics = self._build(log_stats=True)
        self.details = self._build(log_stats=True, enable_logging_iteration_details=True)

    def _build(self, log_stats: bool, **arguments: Any) -> Any:
        from vllm import EngineArgs
        from vllm.v1.engine.llm_engine import LLMEngine

        from engine_probe.engine.substitute import SubstituteExecutor

        config = EngineArgs(
            model=self._model,
            load_format="dummy",
            skip_tokenizer_init=True,
            max_model_len=4096,
            block_size=16,
            num_gpu_blocks_override=1 + self._most * 4096 // 16,
            max_num_seqs=self._most,
            max_num_batched_tokens=max(8192, self._most * PROMPT_TOKENS),
            enable_prefix_caching=False,
            enforce_eager=True,
            distributed_executor_backend=SubstituteExecutor,
            **arguments,
        ).create_engine_config()
        return LLMEngine(config, SubstituteExecutor, log_stats=log_stats)

    def fill(self, running: int, max_tokens: int) -> None:
        from vllm import SamplingParams

        parameters = SamplingParams(max_tokens=max_tokens, ignore_eos=True, detokenize=False)
        for engine in self:
            for index in range(running):
                prompt = [3 + (index * 7 + position) % 200 for position in range(PROMPT_TOKENS)]
                engine.add_request(f"{running}-{index}", {"prompt_token_ids": prompt}, parameters)
            for _ in range(5):
                engine.step()

    def empty(self) -> None:
        for engine in self:
            core = engine.engine_core.engine_core
            engine.abort_request(list(engine.output_processor.request_states), internal=True)
            while core.scheduler.has_requests():
                core.step_fn()

    def __iter__(self) -> Iterator[Any]:
        return iter((self.plain, self.statistics, self.details))


def time_steps(engine: Any, steps: int) -> float:
    """Median duration of a step over one block."""
    durations = []
    for _ in range(steps):
        before = now()
        engine.step()
        durations.append(now() - before)
    return statistics.median(durations)


def measure(engines: Engines, running: int, rounds: int, folder: Path, tick: Callable[[], None]) -> Cost:
    """One row of the table."""
    engines.fill(running, max_tokens=3900)
    step = time_steps(engines.plain, 5)
    steps = max(5, min(200, int(BLOCK_SECONDS * 1e9 / step)))
    steps = min(steps, 3000 // (2 * rounds + 2))
    differences: dict[str, list[float]] = {"probe": [], "statistics": [], "details": []}
    off, counted, scheduling = [], [], []
    for number in range(rounds):
        base = time_steps(engines.plain, steps)
        with Probe(engines.plain, folder / f"{running}-{number}") as probe:
            watched = time_steps(engines.plain, steps)
        rows = probe.run.iterations
        counted.append(statistics.median(rows["probe_ns"].to_pylist()))
        scheduling.append(statistics.median(rows["schedule_ns"].to_pylist()))
        off.append(base)
        differences["probe"].append(watched - base)
        differences["statistics"].append(time_steps(engines.statistics, steps) - base)
        differences["details"].append(time_steps(engines.details, steps) - base)
        tick()
    snapshot = metrics_snapshot_ns(engines.statistics)
    step = statistics.median(off)
    engines.empty()
    disk_bytes, disk_rows = bytes_on_disk(engines, running, folder / f"{running}-disk")
    return Cost(
        running=running,
        rounds=rounds,
        steps_per_block=steps,
        step_ns=step,
        schedule_ns=statistics.median(scheduling),
        probe_counted_ns=statistics.median(counted),
        probe_ns=statistics.median(differences["probe"]),
        statistics_ns=statistics.median(differences["statistics"]),
        details_ns=statistics.median(differences["details"]),
        snapshot_ns=snapshot * step / (SNAPSHOT_SECONDS * 1e9),
        disk_bytes=disk_bytes,
        disk_iterations=disk_rows,
    )


def metrics_snapshot_ns(engine: Any) -> float:
    """What one read of all metrics costs the process: the price of a scrape."""
    durations = []
    for _ in range(15):
        before = now()
        engine.get_metrics()
        durations.append(now() - before)
    return statistics.median(durations)


def bytes_on_disk(engines: Engines, running: int, folder: Path) -> tuple[float, int]:
    """Size of the closed iterations file per row, over a recording of its own."""
    engines.fill(running, max_tokens=3900)
    with Probe(engines.plain, folder) as probe:
        begun = now()
        for count in range(1, DISK_ITERATIONS + 1):  # noqa: B007
            if not engines.plain.has_unfinished_requests():
                break
            engines.plain.step()
            if now() - begun > DISK_SECONDS * 1e9:
                break
    table = probe.run.facts["tables"]["iterations"]
    engines.empty()
    return table["bytes"] / max(1, table["rows"]), count


def run(model: str, rounds: int, tick: Callable[[], None], say: Callable[[str], None]) -> list[Cost]:
    """The whole table; recordings go to a temporary folder."""
    folder = Path(tempfile.mkdtemp(prefix="engine_probe-overhead-"))
    try:
        say("starting three engines over substitute executors")
        engines = Engines(model, max(RUNNING))
        costs = []
        for running in RUNNING:
            say(f"{running} running requests")
            costs.append(measure(engines, running, rounds, folder, tick))
        return costs
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def as_json(costs: list[Cost], facts: dict[str, Any]) -> str:
    return json.dumps({**facts, "costs": [asdict(cost) for cost in costs]}, indent=1)
