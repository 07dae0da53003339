"""Step times fitted to recordings, and how much each figure of such recordings scatters.

For that, a recording's steps get predicted times, and everything that happened in it moves with them: the same figures
are then computed from the moved tables. What a step was given to do stays as recorded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from engine_probe.analysis.batch import step_prices
from engine_probe.analysis.batch.prediction_interval import RATE, prices_of
from engine_probe.analysis.batch.request_times import request_ns, request_prices
from engine_probe.analysis.run.latencies import LATENCIES, answered, without_further
from engine_probe.analysis.run.latency_figures import PERCENTILES
from engine_probe.analysis.run.token_times import update_end_ns
from engine_probe.analysis.statistics.arrays import Integers, Reals
from engine_probe.analysis.step.bottleneck import idle_gaps
from engine_probe.engine.twin.step_times import ANSWERS, PROMPTS, Price, Spread, StepTimes

MOMENTS = ("arrival_ns", "queued_ns", "first_scheduled_ns", "first_token_ns", "last_token_ns", "finished_ns")
MEAN = "mean"
FEWEST_RECORDINGS = 3  # that have a figure


@dataclass(frozen=True, eq=False)
class Recorded:
    """The tables of one recording that step times come from."""

    facts: dict[str, Any]
    iterations: pa.Table
    requests: pa.Table
    workers: pa.Table


def calibrated_on(recordings: Sequence[Recorded]) -> StepTimes:
    """Return step times fitted to these recordings, with the scatter of their figures."""
    used = [each for each in recordings if each.iterations.num_rows]
    requests = request_prices([(each.iterations, each.requests) for each in used])
    whole = [steps_alone(each, requests) for each in used]
    times = step_prices.calibrated(
        [step_prices.with_tokens(steps, each.facts, each.iterations) for steps, each in zip(whole, used, strict=True)],
        starts_of(used),
    )
    first = used[0].facts
    return msgspec.structs.replace(
        times,
        overlaps=step_prices.beside_host(first),
        graph_sizes=step_prices.graph_sizes(first),
        requests=requests,
        errors=figure_scatter(used, whole, times) if len(used) >= FEWEST_RECORDINGS else {},
    )


def starts_of(recordings: Sequence[Recorded]) -> list[int]:
    """Return since which start of its engine each recording was made, counted from zero."""
    made = [tuple((each.facts.get("process") or {}).values()) for each in recordings]
    known = list(dict.fromkeys(made))
    return [known.index(each) for each in made]


def steps_alone(recording: Recorded, requests: Mapping[str, Price]) -> step_prices.StepSample:
    """Return every step without the host's time for requests before it."""
    whole = step_prices.every_step(recording.facts, recording.iterations, recording.requests, recording.workers)
    spent = request_ns(recording.iterations, requests)
    host = None if whole.host_ns is None else whole.host_ns - spent
    return replace(whole, ns=whole.ns - spent, host_ns=host)


def figure_scatter(
    recordings: Sequence[Recorded], samples: Sequence[step_prices.StepSample], times: StepTimes
) -> dict[str, Spread]:
    """Return for each figure how far it lies from what is predicted, beyond how far the whole time lies from that."""
    prices = msgspec.to_builtins(times)
    device, host = (prices_of(prices[part]) for part in ("prices", "host"))
    logs: dict[str, list[float]] = {}
    for recording, steps in zip(recordings, samples, strict=True):
        expected = step_prices.predicted_ns(steps, device, host)
        expected = np.where(expected > 0, expected, steps.ns)
        slower = float(np.log(steps.ns.sum() / expected.sum()))
        busy = expected * ratios(steps, times.scatter) + request_ns(recording.iterations, times.requests)
        real, guessed = figures(recording), figures(moved(recording, busy))
        for name in real.keys() & guessed.keys():
            error = float(np.log(real[name] / guessed[name]))
            logs.setdefault(name, []).append(error + slower if name == RATE else error - slower)
    return {
        name: Spread(float(np.sqrt(np.mean(np.square(found)))), float(len(found)))
        for name, found in sorted(logs.items())
        if len(found) >= FEWEST_RECORDINGS
    }


def ratios(steps: step_prices.StepSample, scatter: Mapping[str, tuple[float, ...]], seed: int = 0) -> Reals:
    """Draw a ratio for each step, as a twin does."""
    chance = np.random.default_rng(seed)
    drawn = np.ones(len(steps))
    for kind, at in ((PROMPTS, steps.with_prompts), (ANSWERS, ~steps.with_prompts)):
        if kind in scatter:
            drawn[at] = chance.choice(scatter[kind], int(at.sum()))
    return drawn


def moved(recording: Recorded, busy: Reals) -> Recorded:
    """Return the recording as if each step had taken this long; the idle time before a step stays."""
    iterations = recording.iterations
    begin = int(iterations["start_ns"][0].as_py())
    starts, ends = iterations["start_ns"].to_numpy() - begin, update_end_ns(iterations) - begin
    idle, gaps = idle_gaps(iterations), np.where(idle_gaps(iterations), iterations["gap_ns"].to_numpy(), 0)
    new_ends = np.cumsum(gaps + busy)
    old, new = np.r_[0, ends, starts[idle]], np.r_[0, new_ends, (new_ends - busy)[idle]]
    order = np.argsort(old, kind="stable")
    knots, places = old[order].astype(np.float64), np.maximum.accumulate(new[order])

    def at(moments: Integers) -> Integers:
        outside = np.minimum(moments, 0) + np.maximum(moments - knots[-1], 0)
        found: Integers = np.round(np.interp(moments, knots, places) + outside).astype(np.int64)
        return found

    parts = np.cumsum(
        [starts, *(iterations[name].to_numpy() for name in ("schedule_ns", "execute_ns", "update_ns"))], 0
    )
    bounds = [at(part) for part in parts]
    columns = {
        "start_ns": bounds[0] + begin,
        "schedule_ns": bounds[1] - bounds[0],
        "execute_ns": bounds[2] - bounds[1],
        "update_ns": bounds[3] - bounds[2],
    }
    requests = recording.requests
    times = {name: pa.array(_moved(requests[name], begin, at)) for name in MOMENTS}
    return Recorded(recording.facts, _with(iterations, columns), _with(requests, times), recording.workers)


def _moved(column: pa.ChunkedArray, begin: int, at: Any) -> pa.Array:
    known = column.is_valid().to_numpy(zero_copy_only=False)
    values = at(column.fill_null(begin).to_numpy() - begin) + begin
    return pa.array(values, mask=~known)


def _with(table: pa.Table, columns: Mapping[str, Any]) -> pa.Table:
    for name, values in columns.items():
        place = table.column_names.index(name)
        table = table.set_column(place, table.schema.field(place), pa.array(values))
    return table


def figures(recording: Recorded) -> dict[str, float]:
    """Return the output tokens per second and each latency of a recording, by name; those that are known."""
    iterations, requests = recording.iterations, answered(without_further(recording.facts, recording.requests))
    seconds = (update_end_ns(iterations)[-1] - iterations["start_ns"][0].as_py()) / 1e9
    found: dict[str, float | None] = {RATE: iterations["output_tokens"].to_numpy().sum() / seconds}
    for latency in LATENCIES:
        sample = latency.sample_ns(iterations, requests, None)
        found[f"{latency.name} {MEAN}"] = sample.mean()
        for percent, value in zip(PERCENTILES, sample.percentiles(PERCENTILES), strict=True):
            found[f"{latency.name} p{percent}"] = value
    return {name: value for name, value in found.items() if value is not None and value > 0}
