"""`sweep --twin`: the sweep on a twin whose step times come from recordings, measured kernels or a datasheet."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from engine_probe.analysis.batch.calibration import Recorded, calibrated_on
from engine_probe.analysis.batch.speculation import measured_acceptance, speculation
from engine_probe.commands.sweep.calibration_checks import check_loads, check_machines, check_recorded_model
from engine_probe.commands.sweep.kernel_twin import check_window, kernel_twin
from engine_probe.engine.build import model_geometry
from engine_probe.engine.engine_spec import EngineSpec
from engine_probe.engine.memory_model import batch_limits
from engine_probe.engine.parallelism import DATA, parallel_size
from engine_probe.engine.twin.build import check_twin
from engine_probe.engine.twin.capacity_plan import least_times
from engine_probe.engine.twin.drafts.acceptance import Acceptance
from engine_probe.engine.twin.kernels.measured_kernels import read_kernels
from engine_probe.engine.twin.settings import Twin, Twins
from engine_probe.engine.twin.step_times import StepTimes
from engine_probe.errors import InputError
from engine_probe.recordings.cluster import MOST_ENGINES
from engine_probe.recordings.run import Run, load
from engine_probe.recordings.sweep import is_sweep, load_sweep
from engine_probe.sweep.definition.kv_demand import longest
from engine_probe.sweep.definition.sweep_file import EngineSection, Point, SweepFile, points
from engine_probe.sweep.preflight.device_plan import built_for, configuration, plan_on
from engine_probe.sweep.preflight.gpu_memory import GpuMemory, named_gpu

# Engine arguments that change what a step costs, by the section of `run.json` that holds them.
PRICED = {
    "model_config": ("enforce_eager", "quantization"),
    "cache_config": ("cache_dtype", "block_size"),
    "parallel_config": ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size"),
}
# Those that a twin's scheduler needs beside the limits that every recording has.
LIMITS = {
    "scheduler_config": ("enable_chunked_prefill", "long_prefill_token_threshold"),
    "parallel_config": ("tensor_parallel_size", "pipeline_parallel_size"),
}
NAMES = {"cache_dtype": "kv_cache_dtype"}  # where vLLM's argument has another name


def predicted(sweep: SweepFile, folder: str) -> SweepFile:
    """Return the sweep with twins in place of its engines.

    `folder` may also name a GPU of the datasheets, or a file that `engine_probe validate --json` wrote.
    """
    if not Path(folder).exists():
        return on_device(sweep, folder)
    if Path(folder).is_file():
        return on_kernels(sweep, Path(folder))
    source = f"--twin {folder}"
    runs = recorded(Path(folder), source)
    first = runs[0].facts
    check_alike(runs, source)
    check_machines(runs, source)
    check_sweep(sweep)

    @cache
    def twin() -> Twin:
        times = step_times(runs)
        check_loads(runs, source)
        return Twin(str(folder), times, limits(first))

    measured = acceptance(runs, source)

    def twin_of(points: Sequence[Point]) -> Twin:
        check_settings(points[0].engine, first, source)
        found = check_twin(points[0].engine.spec, measured)
        return msgspec.structs.replace(twin(), acceptance=found)

    return on_twins(sweep, twin_of)


def on_kernels(sweep: SweepFile, path: Path) -> SweepFile:
    """Return the sweep on twins of the device whose kernels a report of `engine_probe validate` measured."""
    check_sweep(sweep)
    kernels = read_kernels(path, f"--twin {path}")
    return on_twins(sweep, lambda points: kernel_twin(kernels, path, points))


def on_device(sweep: SweepFile, name: str) -> SweepFile:
    """Return the sweep on twins of a GPU: the pool that its memory holds, and the least times of its datasheet."""
    check_sweep(sweep)
    gpu = named_gpu(name, f"--twin {name}: there is neither such a folder nor a GPU of that name whose memory is known")
    return on_twins(sweep, lambda points: device_twin(gpu, points))


def device_twin(gpu: GpuMemory, points: Sequence[Point]) -> Twin:
    """Return the twin of one engine on a GPU; refuse an engine that cannot start there."""
    spec = points[0].engine.spec
    accepted = check_twin(spec)
    most = max(longest(point.workload) or 2 for point in points)
    if built_for(spec.model, spec.arguments) is None:
        check_window(configuration(spec.model), spec.arguments, most, f"--twin {gpu.name}")
    plan, _ = plan_on(spec.model, gpu.name, spec.arguments, (max(1, most - 1), 1))
    if plan.memory.refusal:
        raise InputError(f"--twin {gpu.name}: {spec.model} cannot start: {plan.memory.refusal}")
    tokens, requests = batch_limits(spec.arguments, gpu.name, gpu.memory_bytes)
    block = plan.memory.layout.block_size
    limits = {
        "block_size": block,
        "num_gpu_blocks_override": plan.memory.blocks + 1,  # one more is vLLM's null block
        "max_num_batched_tokens": tokens,
        "max_num_seqs": requests,
    }
    if parallel_size(spec.arguments, "pipeline_parallel_size") == 1:
        limits["async_scheduling"] = True  # with pipelines not every vLLM has it, and it decides itself
    if accepted:
        plan = replace(plan, graph_sizes=())  # vLLM captures other sizes for drafts: no padding is the least
    return Twin(f"the datasheet of {gpu.name}", least_times(plan), limits, bounds=True, acceptance=accepted)


def on_twins(sweep: SweepFile, twin_of: Callable[[Sequence[Point]], Twin]) -> SweepFile:
    """Return the sweep with a twin of each engine; one that cannot be predicted has the reason in its place.

    Refuse a sweep of which no engine can be predicted.
    """
    by_engine: dict[EngineSpec, list[Point]] = {}
    for point in points(sweep):
        by_engine.setdefault(point.engine.spec, []).append(point)
    twins: dict[str, Twin] = {}
    refusals: list[InputError] = []
    for spec, found in by_engine.items():
        try:
            twins[spec.key] = twin_of(found)
        except InputError as error:
            refusals.append(error)
            twins[spec.key] = Twin("", StepTimes({}), refusal=str(error))
    if len(refusals) == len(twins):
        raise refusals[0]
    all_of_them = next(iter(twins.values())) if len(twins) == 1 else Twins(twins)
    engine = msgspec.structs.replace(sweep.engine, twin=msgspec.json.decode(msgspec.json.encode(all_of_them)))
    return msgspec.structs.replace(sweep, engine=engine)


def step_times(runs: Sequence[Run]) -> StepTimes:
    return calibrated_on([Recorded(run.facts, run.iterations, run.requests, run.workers) for run in runs])


def acceptance(runs: Sequence[Run], source: str) -> Acceptance | None:
    """Return how many draft tokens were accepted in the recordings; refuse drafts of several kinds."""
    drafting = [run for run in runs if run.drafts.num_rows]
    for name in ("method", "num_speculative_tokens"):
        kinds = {recorded_argument(run.facts, "speculative_config", name) for run in drafting}
        if len(kinds) > 1:
            raise InputError(
                f"{source} has drafts with {name} {' and '.join(sorted(map(str, kinds)))}: give a run, or a sweep that "
                "does not vary it"
            )
    found = [speculation(run.iterations, run.drafts) for run in drafting]
    return measured_acceptance([each for each in found if each], source.removeprefix("--twin "))


def recorded(folder: Path, source: str) -> list[Run]:
    """Return the recordings in a run's or a sweep's folder; refuse predictions, which hold no measured times.

    `source` is what an error calls the folder: the option that names it, too.
    """
    runs = [run for run in load_sweep(folder).runs if run.iterations.num_rows] if is_sweep(folder) else [load(folder)]
    if not runs:
        raise InputError(f"{source} holds no recording: give a run or a sweep")
    if any("predicted" in run.facts for run in runs):
        raise InputError(f"{source} is itself predicted: give recordings of a real engine")
    return runs


def check_alike(runs: Sequence[Run], source: str) -> None:
    """Refuse recordings of several engines, whose steps have different prices."""
    for run in runs[1:]:
        for section, names in PRICED.items():
            for name in names:
                one, other = (recorded_argument(each.facts, section, name) for each in (runs[0], run))
                if one != other:
                    raise InputError(
                        f"{source} has engines with {NAMES.get(name, name)} {one!r} and {other!r}: give a run, "
                        f"or a sweep that does not vary it"
                    )


def check_sweep(sweep: SweepFile) -> None:
    """Refuse what a twin cannot do."""
    if sweep.stop.steady is not None:
        raise InputError("stop.steady: a twin has no noise that settles: end its points by requests or seconds")
    if sweep.quality or sweep.operators or sweep.check_integrity:
        name = "quality" if sweep.quality else "operators" if sweep.operators else "check_integrity"
        raise InputError(f"{name}: a twin computes no tokens: leave it out of a predicted sweep")
    if not all(point.workload.sampling.ignore_eos for point in points(sweep)):
        raise InputError(
            "workload.sampling.ignore_eos is false: a twin computes no tokens and does not know where an answer ends: "
            "set it to true, and give output_len as a distribution"
        )
    if any(point.together for point in points(sweep)):
        raise InputError(
            "replicas and mix: a twin predicts one engine; the others are like it (replicas = 1, no mix). For engines "
            f"that divide one load set engine.arguments.{DATA}"
        )
    cores = max(parallel_size(point.engine.arguments, DATA) for point in points(sweep))
    if cores > MOST_ENGINES:
        raise InputError(f"engine.arguments.{DATA} = {cores:,} is more than {MOST_ENGINES}: lower it")


def check_settings(engine: EngineSection, facts: Mapping[str, Any], source: str) -> None:
    """Refuse an engine whose steps cost something else than the recorded ones."""
    model = facts["model"]
    shape = model_geometry(engine.model)
    mine = None if shape is None else (shape.layers, shape.head_size)
    theirs = (model["num_layers"], model["head_size"])
    if mine is not None and mine != theirs:
        raise InputError(
            f"engine.model {engine.model!r} has {mine[0]} layers and heads of {mine[1]}, the recordings in "
            f"{source} {theirs[0]} and {theirs[1]}: step times of another model predict nothing"
        )
    check_recorded_model(engine, facts, source)
    for section, names in PRICED.items():
        for name in names:
            argument, known = NAMES.get(name, name), recorded_argument(facts, section, name)
            if argument == DATA and known == 1:
                continue  # each core is such an engine; `check_twin` refuses models of which it is not
            if known is not None and engine.arguments.get(argument, known) != known:
                raise InputError(
                    f"engine.arguments.{argument} = {engine.arguments[argument]!r}, but {source} recorded "
                    f"{known!r}: its step times do not hold for that"
                )


def recorded_argument(facts: Mapping[str, Any], section: str, name: str) -> Any:
    """Return an engine argument as vLLM resolved it. None if it was None, or is not in the recording."""
    return (facts["engine"]["arguments"].get(section) or {}).get(name)


def limits(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the engine arguments by which a twin has the recorded engine's scheduler and pool."""
    kv, limits = facts["kv"], facts["limits"]
    found = {
        "block_size": kv["block_size_tokens"],
        "num_gpu_blocks_override": kv["blocks"] + 1,  # one more is vLLM's null block
        "enable_prefix_caching": kv["prefix_caching"],
        "max_model_len": facts["model"]["max_model_len"],
        "max_num_seqs": limits["max_num_seqs"],
        "max_num_batched_tokens": limits["max_num_batched_tokens"],
        "scheduling_policy": limits["policy"],
        "async_scheduling": facts["engine"]["asynchronous"],
        **{name: recorded_argument(facts, section, name) for section, names in LIMITS.items() for name in names},
    }
    return {name: value for name, value in found.items() if value is not None}
