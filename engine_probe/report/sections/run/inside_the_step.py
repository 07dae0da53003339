"""Where the time of a step goes inside the workers: its phases in sentences, over the load, and in a table."""

from collections.abc import Iterator
from typing import Any

from engine_probe.analysis.statistics.sample import Sample
from engine_probe.analysis.step.phases import LAUNCHED, OUTSIDE, PHASES, DeviceForwards, StepPhases, phases_over_load
from engine_probe.report.document import Bars, Section, Table, says, table, time_bar
from engine_probe.text_format import capitalized, counted, duration

TITLE = "Inside the step"
PAINTS = dict(zip(PHASES, ("c1", "c0", "c4", "c2", "c5", "c7 pale"), strict=True))
MEANINGS = {
    "input preparation": "from the call of the worker to the forward",
    "forward": "the model: computing on a CPU, launching its kernels on a GPU",
    "logits": "from the forward to the end of execute_model(); 0 with vLLM's runner V2, whose sampling computes them",
    "sampling": "choosing tokens, drafting included",
    "bookkeeping": "reading the tokens: without asynchronous scheduling, waiting for the GPU; 0 with vLLM's runner V2",
    OUTSIDE: "scheduler, update, messages between processes, and the caller",
}


def inside_section(found: StepPhases | None, device: DeviceForwards | None, facts: dict[str, Any]) -> Section:
    """Return the phases of the steps, and the reasons for what is missing although it is recorded by now."""
    missing = says(missing_words(facts))
    if found is None:
        return Section(TITLE, sentences=missing)
    sentences = (*says((*phase_words(found), *stage_words(facts), *device_words(device))), *missing)
    return Section(TITLE, sentences=sentences, bars=(load_bars(found),), tables=(phase_table(found),))


def missing_words(facts: dict[str, Any]) -> Iterator[str]:
    ranks = facts.get("workers", {}).get("ranks", ())
    for what, key in (("phases of the steps", "phases_missing"), ("times of the GPUs", "device_missing")):
        for reason in dict.fromkeys(rank[key] for rank in ranks if rank.get(key)):
            yield f"The {what} were not recorded: {reason}."


def stage_words(facts: dict[str, Any]) -> Iterator[str]:
    parallel = facts.get("engine", {}).get("arguments", {}).get("parallel_config") or {}
    if (stages := parallel.get("pipeline_parallel_size") or 1) > 1:
        yield (
            f"The model is divided into {stages} stages: input preparation holds the time in which a stage waits for "
            "the one before it."
        )


def device_words(found: DeviceForwards | None) -> Iterator[str]:
    if found is None:
        return
    yield (
        f"On the GPU a forward took {duration(found.mean_ns)} on average, and {duration(found.between_ns)} passed "
        f"until the next one ({found.between_share:.0%} of the time), in which logits and sampling run or the GPU is "
        "idle."
    )
    yield (
        f"{found.launch_bound_steps:.0%} of the steps, with {found.launch_bound_share:.0%} of the forwards' time, were "
        f"launch-bound: the host was still launching kernels when the GPU had spent {LAUNCHED:.0%} of the forward. The "
        "others were GPU-bound."
    )


def phase_words(found: StepPhases) -> Iterator[str]:
    shares = found.shares
    first, *others = sorted((name for name in PHASES if shares[name] >= 0.005), key=lambda name: -shares[name])
    rest = ", ".join(f"{name} {shares[name]:.0%}" for name in others)
    ranks = f" on {found.ranks} ranks" if found.ranks > 1 else ""
    mean = duration(float(found.total_ns.mean()))
    yield (
        f"{capitalized(first)} took {shares[first]:.0%} of the workers' time by the host's clock"
        f"{f', {rest}' if rest else ''}. An average step took {mean} ({counted(len(found.running), 'step')}{ranks})."
    )


def load_bars(found: StepPhases) -> Bars:
    loads = phases_over_load(found)
    longest = max(sum(load.mean_ns.values()) for load in loads)
    bars = []
    for load in loads:
        span = f"{load.least:,}" if load.least == load.most else f"{load.least:,} to {load.most:,}"
        bars.append(time_bar(f"{span} running ({counted(load.steps, 'step')})", load.mean_ns, PAINTS, longest))
    return Bars("Phases of a step over the load", "Means of the steps with as many running requests.", tuple(bars))


def phase_table(found: StepPhases) -> Table:
    shares, titles = found.shares, ["phase", "share", "mean", "median", "99th percentile"]
    kinds = {"mean, only decode": ~found.with_prefill, "mean, with prefill": found.with_prefill}
    kinds = {title: steps for title, steps in kinds.items() if steps.any() and not steps.all()}
    rows = []
    for name in PHASES:
        values = found.ns[name]
        of_kinds = (float(values[steps].mean()) for steps in kinds.values())
        cells = [float(values.mean()), *Sample.of(values).percentiles((50, 99)), *of_kinds]
        rows.append((name, f"{shares[name]:.1%}", *map(duration, cells), MEANINGS[name]))
    words = (0, len(titles) + len(kinds))
    return table((*titles, *kinds, "what it holds"), rows, words=words)
