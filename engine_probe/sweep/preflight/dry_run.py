"""What `--dry-run` shows: the points, how much KV cache they need, and how long they will take."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

from rich.console import Console
from rich.table import Table

from engine_probe.engine.memory_model import RankMemory
from engine_probe.engine.parallelism import rank_count
from engine_probe.report.renderers.plain_table import plain_table
from engine_probe.sweep.definition.checkpoints import absent
from engine_probe.sweep.definition.perplexity_points import texts
from engine_probe.sweep.definition.sweep_file import Point, SweepFile, points
from engine_probe.sweep.definition.workload_section import WorkloadSection
from engine_probe.sweep.execution.oversized_points import Reasons, told, without_checkpoint
from engine_probe.sweep.preflight.duration_estimate import (
    AT_LEAST,
    DeviceSpeed,
    Estimate,
    engine_count,
    engine_start,
    is_small,
)
from engine_probe.sweep.preflight.earlier_sweeps import Past
from engine_probe.sweep.preflight.gpu_memory import GpuMemory, block_size, show_memory
from engine_probe.sweep.preflight.host_memory_shares import HostMemory, show_host_memory
from engine_probe.sweep.preflight.memory_fit import pool_tokens, tokens_in_flight
from engine_probe.sweep.preflight.point_limit import STALL_SECONDS, longest_time
from engine_probe.sweep.preflight.pool_demand import peak_tokens
from engine_probe.sweep.preflight.recorded_prices import peak_in_steps, recording_command, unknown_speed
from engine_probe.sweep.preflight.search_space import show_search
from engine_probe.sweep.preflight.target import Memory, Target
from engine_probe.text_format import capitalized, counted, long_duration, model_name, plain
from engine_probe.workload.dataset_file import Dataset, read_entries
from engine_probe.workload.prompts import Conversations, SharedPrefix
from engine_probe.workload.question_set.question_file import are_here, read_question_sets, shipped_sets
from engine_probe.workload.question_set.question_prompts import Questions
from engine_probe.workload.traces.trace_file import Trace, answered
from engine_probe.workload.workload_spec import FromFile, prompt_files

Estimates = Mapping[str, Estimate | None]  # of points, by their keys

TITLES = ("point", "requests", "tokens in\nand out", "KV\ntokens", "of the\npool", "time")


def show_points(sweep: SweepFile, target: Target, console: Console, left_out: Reasons | None = None) -> None:
    """Print the points of a sweep and what is predicted for them; `left_out` holds those that there is no room for."""
    left_out, all_points = left_out or {}, points(sweep)
    unmeasured = {**without_checkpoint(sweep, all_points), **left_out}
    possible = [point for point in all_points if point.key not in unmeasured]
    memory = target.memories(all_points)
    estimates = {} if target.is_fleet else target.estimates(possible)
    rows = [
        [
            point.label,
            *size_cells(point, target.past, target.gpu, memory.get(point.engine.spec)),
            "cannot run" if point.key in unmeasured else time_cell(estimates.get(point.key)),
        ]
        for point in all_points
    ]
    rows += [[text.label, *["-"] * (len(TITLES) - 1)] for text in texts(sweep)]
    models = {point.engine.model for point in all_points}
    if len(models) == 1:  # with several, each label names its model
        console.print(f"Model: {model_name(models.pop())}", soft_wrap=True)
    console.print(points_table(rows))
    show_memory({spec: one for spec, one in memory.items() if isinstance(one, RankMemory)}, console)
    if target.hardware is not None:
        on_host = {spec: one for spec, one in memory.items() if isinstance(one, HostMemory)}
        show_host_memory(on_host, target.hardware["host"]["memory_bytes"], console)
    show = show_times if sweep.search is None else show_search_times
    show(sweep, possible, estimates, target, console)
    if possible:
        console.print(limit_line(possible, sweep.point_seconds), soft_wrap=True)
    for line in told(all_points, left_out):
        console.print(plain(f"{capitalized(line)}."), soft_wrap=True, markup=False)
    for line in missing_lines(all_points, sweep):
        console.print(line, soft_wrap=True)


def show_times(
    sweep: SweepFile, possible: Sequence[Point], estimates: Estimates, target: Target, console: Console
) -> None:
    """Print how many points there are on how many engines, and how long they will take."""
    all_points = points(sweep)
    engines = engine_count(all_points)
    search = ", of which a search measures as many loads as it needs" if sweep.adaptive else ""
    console.print(f"{counted(len(all_points), 'point')} on {counted(engines, 'engine')}{search}.")
    if (most := max(len(point.engines) for point in all_points)) > 1:
        ranks = max(sum(rank_count(spec.arguments) for spec in point.engines) for point in all_points)
        gpus = f"{counted(ranks, 'GPU')}, or without GPUs as many cores"
        beside = "".join(f"; {one.replicas} of them are {model_name(one.engine.model)}" for one in sweep.mix)
        console.print(f"Up to {most} engines measure a point together, which takes {gpus}{beside}.", soft_wrap=True)
        console.print("Requests and tokens are those of each engine.")
    if sweep.quality is not None:
        text = f"{sweep.quality.text} in windows of {sweep.quality.window:,} tokens; its time is not predicted"
        console.print(f"After its points each engine predicts a text: {text}.", soft_wrap=True)
    if target.is_fleet:
        console.print("No times: the speed of the fleet's machines is not known here.")
        return
    found = [guess for point in possible if (guess := estimates[point.key])]
    if found and not sweep.adaptive:
        start_seconds = engine_start(possible, target.past)
        console.print(total_line(found, len(possible), engines, start_seconds), soft_wrap=True)
    show_basis(possible, estimates, target, console)
    if any(point.engine.twin is not None for point in possible):
        console.print("No times: how long vLLM's scheduler takes to compute a prediction is not known before.")
    untimed = [point for point in possible if estimates[point.key] is None and point.engine.twin is None]
    if untimed and not target.of_datasheet:
        console.print(untimed_line(untimed, target.where), soft_wrap=True)


def show_search_times(
    sweep: SweepFile, possible: Sequence[Point], estimates: Estimates, target: Target, console: Console
) -> None:
    """Print what a search over engine arguments may measure, and how long that will take."""
    (base,) = points(sweep)
    where = None if target.is_fleet else target.where
    show_search(sweep, base, estimates.get(base.key), engine_start(possible, target.past), where, console)
    if not target.is_fleet and sweep.adaptive is None:
        show_basis(possible, estimates, target, console)


def show_basis(possible: Sequence[Point], estimates: Estimates, target: Target, console: Console) -> None:
    """Print what the predicted times rest on, and what they leave out."""
    known = [guess for point in possible if (guess := estimates[point.key])]
    for line in time_lines(known, target.where, target.speed):
        console.print(line, soft_wrap=True)
    small = [point for point in possible if (guess := estimates[point.key]) and guess.is_bound and is_small(point)]
    if small and not target.of_datasheet:
        spec = small[0].engine.spec
        console.print(
            f"What vLLM itself does in each step is not in ≥, and takes longer with a model as small as "
            f"{model_name(spec.model)}. This command records it, and the start: {recording_command(spec)}",
            soft_wrap=True,
        )


def points_table(rows: Sequence[Sequence[str]]) -> Table:
    """Return the table without the columns that are empty for every point."""
    filled = [number for number in range(len(TITLES)) if any(row[number] != "-" for row in rows)]
    table = plain_table()
    for number in filled:
        if number:
            table.add_column(TITLES[number], justify="right", no_wrap=True)
        else:
            table.add_column(TITLES[number], overflow="fold")
    for row in rows:
        table.add_row(*(row[number] for number in filled))
    return table


def missing_lines(all_points: Sequence[Point], sweep: SweepFile) -> Iterator[str]:
    """Yield a sentence for each checkpoint and each file that is not here."""
    yield from (f"{sentence}; its points are left out." for sentence in absent(sweep).values())
    for path, key in missing_files(all_points, sweep):
        yield f"There is no file {path} here: a run needs it; give yours with --set {key}=FILE."


def missing_files(all_points: Sequence[Point], sweep: SweepFile) -> Iterator[tuple[str, str]]:
    """Yield each file that a run needs and that is not here, with the key that names it."""
    paths = dict.fromkeys(path for point in all_points for path in prompt_files(point.workload.prompts))
    named = [(path, "workload.prompts.path") for path in paths if path not in shipped_sets()]
    named += [(sweep.quality.text, "quality.text")] if sweep.quality else []
    yield from (pair for pair in named if not Path(pair[0]).expanduser().is_file())


def total_line(known: Sequence[Estimate], asked: int, engines: int, start_seconds: float | None) -> str:
    total = long_duration(sum(guess.seconds for guess in known))
    bound = "at least " if any(guess.is_bound for guess in known) else ""
    start = "; engine starts, which were not measured here, come on top"
    if start_seconds is not None:
        start = f", and {counted(engines, 'engine start')} of about {long_duration(start_seconds)}"
    return f"Predicted: {bound}{total} for {len(known)} of {asked} points{start}."


def limit_line(possible: Sequence[Point], given: float | None) -> str:
    """Say after which time a point is given up."""
    if given is not None:
        return f"A point is given up after {long_duration(given)} (point_seconds)."
    limits = {longest_time(point) for point in possible}
    known = sorted(limit for limit in limits if limit is not None)
    ends = list(dict.fromkeys(long_duration(limit) for limit in (*known[:1], *known[-1:])))
    depending = ", depending on what it asks" if len(ends) > 1 else ""
    by_tokens = f"{' to '.join(ends)}{depending}, or " if known else ""
    stalled = f"{long_duration(STALL_SECONDS)} without a step"
    return f"A point is given up after {by_tokens}{stalled} (point_seconds sets another limit)."


def time_lines(known: Sequence[Estimate], where: Path, device: DeviceSpeed | None) -> Iterator[str]:
    """Explain what the predicted times rest on, and why some points have none."""
    if any(guess.is_bound for guess in known):
        rates = f", at the rates {f'by {device.of}' if device.of else 'measured here'}" if device else ""
        yield f"{AT_LEAST}{rates}."
        if device and device.doubts:
            yield (
                f"The rates behind ≥ are doubtful ({'; '.join(device.doubts)}): if they were measured too low, the "
                "bound is too high."
            )
    if any(not (guess.is_bound or guess.is_priced) for guess in known):
        yield f"~: estimated from earlier sweeps of this engine on the same kind of hardware, in {where}."
    if any(guess.is_priced for guess in known):
        yield (
            f"~: predicted from the step times of this engine's recordings in {where}; what preemptions cost is not in "
            "it, and answers that may end early are taken at full length."
        )


def untimed_line(untimed: Sequence[Point], where: Path) -> str:
    """Say what is not known of the machine, and which command would tell."""
    specs = list(dict.fromkeys(part.engine.spec for point in untimed for part, _ in point.parts))
    return f"{counted(len(untimed), 'point')} without a time: {unknown_speed(specs[0], where)}"


def size_cells(point: Point, past: Sequence[Past], gpu: GpuMemory | None, memory: Memory | None) -> list[str]:
    """Return the cells for the requests, their lengths, their KV tokens at the end and the share of the pool."""
    work, known, needed = point.workload, pool_of(point, past), tokens_needed(point, block_size(point, gpu))
    share, most = pool_share(needed, point, past, memory), most_pool_tokens(memory)
    cell = "-" if share is None else f"{'~' if known is None else ''}{share:.0%}"
    if share is None and needed is not None and most:
        cell = f"≥ {needed / most:.0%}"
    return [length(request_count(work)), lengths(work), length(needed), cell]


def most_pool_tokens(memory: Memory | None) -> int | None:
    """Return the tokens that a machine's pool cannot exceed. None if that is not known."""
    return memory.most_pool_tokens if isinstance(memory, HostMemory) and not memory.refusal else None


def pool_of(point: Point, past: Sequence[Past]) -> int | None:
    """Return the tokens of a pool that is given or was measured. None if neither."""
    measured = (one.kv_tokens for one in past if one.point.engine.spec == point.engine.spec)
    return pool_tokens(point) or next(measured, None)


def pool_share(needed: int | None, point: Point, past: Sequence[Past], memory: Memory | None) -> float | None:
    """Return the share of these KV tokens in a pool that is given, was measured or is predicted.

    None if the pool or the need is not known.
    """
    predicted = memory.pool_tokens if memory and not memory.refusal else None
    pool = pool_of(point, past) or predicted
    return None if not pool or needed is None else needed / pool


def tokens_needed(point: Point, block: int = 1) -> int | None:
    """Return the most KV tokens that the requests hold at one time, if the pool has room. None if that is not known."""
    given, in_flight = point.engine.arguments.get("block_size"), point.workload.in_flight
    peak = peak_tokens(point, given if isinstance(given, int) else block)
    if peak is not None or in_flight is None:
        return peak
    return tokens_in_flight(point, in_flight) or peak_in_steps(point)


def request_count(work: WorkloadSection) -> int | None:
    """Return how many requests a point sends, counted in its file if they come from one.

    None if the file is not here, or if chance or the model's tokenizer decides which of its requests are sent.
    """
    if work.requests is not None or work.num_prompts is not None or not isinstance(work.prompts, FromFile):
        return work.requests
    return requests_in_file(work.prompts)


@cache
def requests_in_file(prompts: Dataset | Questions | Trace) -> int | None:
    if isinstance(prompts, Questions):
        if not are_here(prompts.paths):
            return None
        return sum(len(question.asked) for question in read_question_sets(prompts.paths))
    if not all(Path(path).is_file() for path in prompt_files(prompts)):
        return None
    if isinstance(prompts, Trace):
        return sum(len(session.turns) for session in answered(prompts)[0])
    return None if prompts.max_total_len else sum(map(len, read_entries(prompts)))


def lengths(work: WorkloadSection) -> str:
    """Return the cell for the tokens of prompts and answers; `drawn` stands for random lengths."""
    answer, prompts = length(work.output_len), work.prompts
    if isinstance(prompts, Conversations):
        turns = f"{length(prompts.turns)} x ({length(prompts.input_len)} + {answer})"
        return f"{prompts.system_len:,} + {turns}" if prompts.system_len else turns
    if isinstance(prompts, SharedPrefix):
        return f"{prompts.prefix_len:,} + {length(prompts.input_len)} + {answer}"
    return f"{length(work.input_len if prompts is None else None)} + {answer}"


def length(tokens: object) -> str:
    return f"{tokens:,}" if isinstance(tokens, int) else "-" if tokens is None else "drawn"


def time_cell(guess: Estimate | None) -> str:
    return "-" if guess is None else f"{'≥' if guess.is_bound else '~'} {long_duration(guess.seconds)}"
