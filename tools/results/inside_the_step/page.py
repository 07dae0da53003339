"""Write the sections of docs/results/inside_the_step.md: `python -m tools.results.inside_the_step --write`.

A small real model is recorded as it is, and again with pauses planted into chosen steps. How rarely a step that nothing
held up is told as a stall is counted in simulated runs with noise of several kinds.
"""

import argparse
import gc
import mmap
import os
import tempfile
import threading
import time
import timeit
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from engine_probe import Probe, Run
from engine_probe.analysis.statistics.arrays import Reals
from engine_probe.analysis.step.stalls import Stalls, stalls
from engine_probe.engine.build import build_llm
from engine_probe.engine.engine_spec import EngineSpec
from engine_probe.hook.engine_core import find_core
from engine_probe.hook.process_pauses import PauseHook
from engine_probe.record.schema import SCHEMAS, TABLES
from engine_probe.report.sections.run.inside_the_step import TITLE as PHASES_TITLE
from engine_probe.report.sections.run.operators import TITLE as OPERATORS_TITLE
from engine_probe.telemetry.core_thread import CoreThread
from engine_probe.text_format import duration
from tools.pictures.screenshot import photograph_section
from tools.result_page import ROOT, measured_here, table
from tools.results.inside_the_step.operators import TOKENS as OPERATOR_TOKENS
from tools.results.inside_the_step.operators import WINDOW, operator_lines
from tools.results.inside_the_step.phases import phase_lines, recorded_phases
from tools.results.inside_the_step.window_cost import ARGUMENTS, measured, window_lines

PAGE, PICTURES = ROOT / "docs/results/inside_the_step.md", ROOT / "docs/pictures"
TITLE, SECTION = "# Inside the step\n", "## Stalls\n"
REQUESTS, TOKENS = 4, 240
PLANTED = {"garbage collection": 60, "sleep": 110, "page faults": 160}  # by the step that it is planted into
PAUSE_SECONDS = 5.0
SIMULATED_RUNS, SIMULATED_STEPS = 40, 5_000

NOISES: dict[str, Callable[[np.random.Generator, int], Reals]] = {
    "lognormal, 10 %": lambda random, count: random.lognormal(0, 0.1, count),
    "lognormal, 30 %": lambda random, count: random.lognormal(0, 0.3, count),
    "lognormal, 50 %": lambda random, count: random.lognormal(0, 0.5, count),
    "1 + exponential of 10 %": lambda random, count: 1 + random.exponential(0.1, count),
    "exponential": lambda random, count: random.exponential(1.0, count),
}


def simulated(noise: Callable[[np.random.Generator, int], Reals], seed: int) -> Stalls:
    """Return the stalls of a run whose steps depend on their tokens, times this noise."""
    random, count = np.random.default_rng(seed), SIMULATED_STEPS
    decode = np.clip(32 + 20 * np.sin(np.arange(count) / 300) + random.normal(0, 2, count), 1, 64).astype(np.int64)
    prefill = np.where(random.random(count) < 0.1, random.integers(16, 512, count), 0)
    live = decode * 100 + np.cumsum(decode) % 20_000
    times = (8e6 + 5e4 * decode + 2e4 * prefill + 50 * live) * noise(random, count)
    ns = times.astype(np.int64)
    columns = {field.name: np.zeros(count, np.int64) for field in SCHEMAS["iterations"]}
    columns |= {"iteration": np.arange(count), "start_ns": np.r_[0, np.cumsum(ns)[:-1]], "execute_ns": ns}
    columns |= {"decode_tokens": decode, "prefill_tokens": prefill, "kv_tokens_live": live}
    arrays = [pa.array(columns[field.name].astype(field.type.to_pandas_dtype())) for field in SCHEMAS["iterations"]]
    iterations = pa.table(arrays, schema=SCHEMAS["iterations"])
    return stalls(iterations, ns, SCHEMAS["workers"].empty_table(), TABLES["host_events"].empty_table())


def collect() -> None:
    """Make a big heap of cycles and collect it, oldest generation first."""
    cycles: list[Any] = []
    for _ in range(300_000):
        cycles.append([])
        cycles[-1].append(cycles[-1])
    del cycles
    until = time.monotonic() + PAUSE_SECONDS
    while time.monotonic() < until:
        gc.collect(2)


def touch_pages() -> None:
    """Write to pages of memory that the process does not have yet."""
    until = time.monotonic() + PAUSE_SECONDS
    while time.monotonic() < until:
        with mmap.mmap(-1, 32 << 20) as memory:
            memory.madvise(mmap.MADV_NOHUGEPAGE)
            for page in range(0, len(memory), mmap.PAGESIZE):
                memory[page] = 1


PAUSES: dict[str, Callable[[], object]] = {
    "garbage collection": collect,
    "sleep": lambda: time.sleep(PAUSE_SECONDS),
    "page faults": touch_pages,
}


def costs() -> str:
    """Measure what noticing costs: a collection with the callback, and a look at the core's thread."""
    gc.disable()
    bare = microseconds(lambda: gc.collect(0))
    gc.callbacks.append(lambda phase, info: None)
    empty = microseconds(lambda: gc.collect(0))
    gc.callbacks.pop()
    hook = PauseHook(deque())
    watched = microseconds(lambda: gc.collect(0))
    hook.detach()
    gc.enable()
    core, thread = CoreThread(deque()), threading.get_native_id()
    sample = microseconds(lambda: core.sample(time.monotonic_ns(), thread))
    core.close()
    return (
        f"**What watching costs.** {watched - bare:.1f} µs for each garbage collection ({empty - bare:.1f} µs with a "
        f"callback that does nothing), and {sample:.0f} µs every 50 ms in the telemetry's thread; a step without a "
        "collection costs nothing more.\n"
    )


def microseconds(call: Callable[[], object]) -> float:
    return min(timeit.repeat(call, number=2_000, repeat=15)) / 2_000 * 1e6


def recorded(
    llm: Any,
    folder: Path,
    pauses: dict[int, Callable[[], object]],
    operators: str | None = None,
    tokens: int = TOKENS,
) -> Run:
    """Record a run; `pauses` are called on the engine's thread in these steps."""
    from vllm import SamplingParams

    executor, step = find_core(llm).model_executor, 0
    execute = executor.execute_model

    def pausing(*args: Any, **kwargs: Any) -> Any:
        nonlocal step
        pauses.get(step, int)()
        step += 1
        return execute(*args, **kwargs)

    prompts = [{"prompt_token_ids": [100 + (7 * i + j) % 2_000 for j in range(32 + 8 * i)]} for i in range(REQUESTS)]
    parameters = SamplingParams(max_tokens=tokens, ignore_eos=True, temperature=0, detokenize=False)
    executor.execute_model = pausing
    try:
        with Probe(llm, folder, operators=operators) as probe:
            llm.generate(prompts, parameters, use_tqdm=False)
    finally:
        executor.execute_model = execute
    return probe.run


def section(model: str, plain: Run, paused: Run) -> Iterator[str]:
    yield f"{SECTION}"
    yield "    python -m tools.results.inside_the_step --write\n"
    yield f"{measured_here(model)}. Where others use the cores too, steps also stall by themselves.\n"
    yield f"**Without planted pauses.** {verdict(plain.analysis().stalls)}\n"
    yield from stall_rows(plain.stalls.to_pylist())
    yield f"**With pauses of {PAUSE_SECONDS:g} s planted.** {verdict(paused.analysis().stalls)}\n"
    planted = {step: name for name, step in PLANTED.items()}
    yield from stall_rows(paused.stalls.to_pylist(), planted)
    missed = planted.keys() - set(paused.stalls["iteration"].to_pylist())
    yield "![The section of the report](../pictures/stalls.png)\n"
    yield f"Planted pauses that were missed: {', '.join(planted[step] for step in sorted(missed)) or 'none'}.\n"
    yield (
        f"**False alarms.** {SIMULATED_RUNS} simulated runs of {SIMULATED_STEPS:,} "
        "steps for each kind of noise, which multiplies every step's time:\n"
    )
    runs = {name: [simulated(noise, seed) for seed in range(SIMULATED_RUNS)] for name, noise in NOISES.items()}
    counts = (
        (name, sum(run.table.num_rows for run in same), sum(run.judged for run in same)) for name, same in runs.items()
    )
    yield from table(
        ("noise", "stalls reported", "of steps"), ((name, f"{told:,}", f"{steps:,}") for name, told, steps in counts)
    )
    yield f"\n{costs()}"


def verdict(found: Stalls) -> str:
    causes = ", ".join(f"{cause} {count:,} ({duration(ns)})" for cause, (count, ns) in found.by_cause.items())
    return f"{found.table.num_rows:,} of {found.judged:,} steps stalled{f': {causes}' if causes else ''}."


def stall_rows(rows: list[dict[str, Any]], planted: dict[int, str] | None = None) -> Iterator[str]:
    """Yield a table of stalls; none without any."""
    if not rows:
        return
    extra = planted is not None
    yield f"| step |{' planted |' if extra else ''} took | expected | cause | explains | detail |"
    yield f"|--:|{'---|' if extra else ''}--:|--:|---|--:|---|"
    for row in rows:
        plant = f" {(planted or {}).get(row['iteration'], '')} |" if extra else ""
        times = f"{duration(row['duration_ns'])} | {duration(row['expected_ns'])}"
        explains = f"{row['explained_ns'] / row['excess_ns']:.0%}"
        yield f"| {row['iteration']} |{plant} {times} | {row['cause']} | {explains} | {row['detail']} |"
    yield ""


def with_section(page: str, text: str) -> str:
    """Return the page with this section in the place of the one of its title, or at the end."""
    parts = (page or f"{TITLE}\n").split("\n## ")
    title = text.removeprefix("## ").partition("\n")[0]
    at = next((at for at, part in enumerate(parts) if at and part.partition("\n")[0] == title), len(parts))
    parts[at : at + 1] = [text.removeprefix("## ").rstrip("\n") + "\n"]
    return "\n## ".join(part.rstrip("\n") + "\n" for part in parts)


def phases_text(llm: Any, model: str, write: bool) -> str:
    with tempfile.TemporaryDirectory() as folder:
        run, spans = recorded_phases(llm, Path(folder, "phases"))
        if write:
            photograph_section(run.folder, PICTURES / "phases.png", PHASES_TITLE)
        return "\n".join(phase_lines(model, run, spans))


def stalls_text(llm: Any, model: str, write: bool) -> str:
    with tempfile.TemporaryDirectory() as folder:
        pauses = {step: PAUSES[name] for name, step in PLANTED.items()}
        runs = recorded(llm, Path(folder, "plain"), {}), recorded(llm, Path(folder, "paused"), pauses)
        text = "\n".join(section(model, *runs))
        if write:
            photograph_section(runs[1].folder, PICTURES / "stalls.png", "Stalls")
    return text


def operators_text(llm: Any, model: str, write: bool) -> str:
    with tempfile.TemporaryDirectory() as folder:
        run = recorded(llm, Path(folder, "operators"), {}, str(WINDOW), OPERATOR_TOKENS)
        text = "\n".join(operator_lines(model, run))
        if write:
            photograph_section(run.folder, PICTURES / "operators.png", OPERATORS_TITLE)
    return text


def window_text(llm: Any, model: str, write: bool) -> str:
    with tempfile.TemporaryDirectory() as folder:
        engines = [build_llm(EngineSpec("tiny", ARGUMENTS)) for _ in range(2)]
        return "\n".join(window_lines(measured(engines, WINDOW, Path(folder)), WINDOW))


SECTIONS: dict[str, Callable[[Any, str, bool], str]] = {
    "phases": phases_text,
    "stalls": stalls_text,
    "operators": operators_text,
    "window": window_text,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="smollm2", help="an embedded model [default: smollm2]")
    parser.add_argument("--only", choices=tuple(SECTIONS), help="write this section alone")
    parser.add_argument("--write", action="store_true", help=f"put them into {PAGE.name}; else print them")
    asked = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch is loaded: others use the cores too
    llm = build_llm(EngineSpec(asked.model, {"max_model_len": 512, "enforce_eager": True}))
    for name in (asked.only,) if asked.only else SECTIONS:
        text = SECTIONS[name](llm, asked.model, asked.write)
        if asked.write:
            PAGE.write_text(with_section(PAGE.read_text() if PAGE.exists() else "", text))
        else:
            print(text)
