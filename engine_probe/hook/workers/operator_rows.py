"""What torch's profiler saw in a window of steps, folded into rows: where the time of each phase went.

On the host each moment belongs to the innermost operator that is running on the worker's thread, or to a gap. On a
device it belongs to the kernel that began first, and to a collective only if nothing else runs; a kernel belongs to the
step, phase and layer in which the host launched it, and a phase lasts from its first kernel to the end of its last. So
the rows of a phase add up to its duration, gaps included. A launch of a CUDA graph is many kernels, by name.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from engine_probe.hook.workers.operator_kinds import COLLECTIVE, GAP, kind_in_layer, kind_of
from engine_probe.hook.workers.phases import WorkerStep

HOST, DEVICE = "host", "device"
MARK = "engine_probe"  # an operator of our own, which tells the profiler's number of the worker's thread
MOST_NAME = 200  # characters of the name of a kernel, whose template arguments may go on for pages
MOST_SLICES = 40_000  # of a rank: the longest are kept

Integers = npt.NDArray[np.int64]
Row = tuple[Any, ...]
Key = tuple[int, str, str, str, str | None, str]  # iteration, phase, host or device, kind, layer, name


class OperatorEvent(NamedTuple):
    """One operator, call into a driver, or kernel, by the host's clock."""

    name: str
    start_ns: int
    end_ns: int
    lane: int  # the thread or the stream
    on_device: bool = False
    launch: int = 0  # number that a kernel has in common with the driver call that launched it, else 0


class TimeSpan(NamedTuple):
    start_ns: int
    end_ns: int
    value: Any


def folded(
    events: Sequence[OperatorEvent], steps: Sequence[WorkerStep], layers: Sequence[TimeSpan], lane: int
) -> list[tuple[Key, int, int]]:
    """Return for each step, phase, layer and name the number of calls and the time, given the worker's thread."""
    spans = [span for step in steps for span in phase_spans(step)]
    calls: Counter[Key] = Counter()
    ns: Counter[Key] = Counter()
    host = sorted((e for e in events if not e.on_device and e.lane == lane), key=lambda e: (e.start_ns, -e.end_ns))
    _fold_host(host, spans, layers, calls, ns)
    _fold_device(events, spans, layers, calls, ns)
    return [(key, calls[key], ns[key]) for key in sorted(calls.keys() | ns.keys(), key=repr)]


def phase_spans(step: WorkerStep) -> Iterable[TimeSpan]:
    """Yield the phases of a step, as `phases.py` defines them; a step without a forward has one phase."""
    if step.forward_called is None or step.forward_returned is None:
        yield TimeSpan(step.called, step.returned, (step.number, "whole step"))
    else:
        yield TimeSpan(step.called, step.forward_called, (step.number, "input preparation"))
        yield TimeSpan(step.forward_called, step.forward_returned, (step.number, "forward"))
        yield TimeSpan(step.forward_returned, step.returned, (step.number, "logits"))
    if step.sample_called is not None:
        until = step.bookkeeping_called or step.sample_returned
        yield TimeSpan(step.sample_called, until, (step.number, "sampling"))
        if step.bookkeeping_called is not None:
            yield TimeSpan(until, step.sample_returned, (step.number, "bookkeeping"))


def _fold_host(
    host: list[OperatorEvent], spans: list[TimeSpan], layers: Sequence[TimeSpan], calls: Counter[Key], ns: Counter[Key]
) -> None:
    inner = innermost(host)
    edges = np.unique([edge for group in (inner, spans, layers) for span in group for edge in span[:2]])
    begins, lengths = edges[:-1].astype(np.int64), np.diff(edges)
    found = zip(at(spans, begins), at(layers, begins), at(inner, begins), lengths.tolist(), strict=True)
    for phase, layer, event, length in found:
        if phase is not None:
            ns[_key(phase, HOST, layer, event)] += length
    starts = np.array([event.start_ns for event in host], np.int64)
    for phase, layer, event in zip(at(spans, starts), at(layers, starts), host, strict=True):
        if phase is not None:
            calls[_key(phase, HOST, layer, event)] += 1


def _key(phase: tuple[int, str], where: str, layer: str | None, event: OperatorEvent | None) -> Key:
    iteration, name = phase
    if event is None:
        return iteration, name, where, GAP, layer, ""
    return iteration, name, where, kind_in_layer(event.name, layer), layer, event.name[:MOST_NAME]


def innermost(events: list[OperatorEvent]) -> list[TimeSpan]:
    """Return when each event is the innermost that is running, given the events of a thread with outer ones first."""
    found: list[TimeSpan] = []
    running: list[OperatorEvent] = []
    clock = 0

    def run_until(moment: int) -> None:
        nonlocal clock
        while running and clock < moment:
            until = min(running[-1].end_ns, moment)
            if until > clock:
                found.append(TimeSpan(clock, until, running[-1]))
                clock = until
            if running[-1].end_ns <= clock:
                running.pop()
        clock = max(clock, moment)

    for event in events:
        run_until(event.start_ns)
        running.append(event)
    run_until(max((event.end_ns for event in events), default=0))
    return found


def at(spans: Sequence[TimeSpan], moments: Integers) -> list[Any]:
    """Return the value of the span in which each moment lies, given spans that do not overlap. None outside all."""
    ordered = sorted((span for span in spans if span.end_ns > span.start_ns), key=lambda span: span.start_ns)
    if not ordered:
        return [None] * len(moments)
    places = np.searchsorted([span.start_ns for span in ordered], moments, "right") - 1
    return [
        ordered[place].value if place >= 0 and moment < ordered[place].end_ns else None
        for place, moment in zip(places.tolist(), moments.tolist(), strict=True)
    ]


def _fold_device(
    events: Sequence[OperatorEvent],
    spans: list[TimeSpan],
    layers: Sequence[TimeSpan],
    calls: Counter[Key],
    ns: Counter[Key],
) -> None:
    kernels = [event for event in events if event.on_device]
    launched = launch_times(events, kernels)
    groups: defaultdict[tuple[int, str], list[tuple[OperatorEvent, str | None]]] = defaultdict(list)
    for phase, layer, kernel in zip(at(spans, launched), at(layers, launched), kernels, strict=True):
        if phase is not None:
            groups[phase].append((kernel, layer))
    for phase, launches in groups.items():
        alone = exclusive_ns([kernel for kernel, _ in launches])
        for (kernel, layer), length in zip(launches, alone, strict=True):
            key = _key(phase, DEVICE, layer, kernel)
            calls[key] += 1
            ns[key] += length
        span = max(kernel.end_ns for kernel, _ in launches) - min(kernel.start_ns for kernel, _ in launches)
        ns[_key(phase, DEVICE, None, None)] += span - sum(alone)


def launch_times(events: Sequence[OperatorEvent], kernels: list[OperatorEvent]) -> Integers:
    """Return when the host launched each kernel; one whose launch was not seen counts as launched when it began."""
    calls = {event.launch: event.start_ns for event in events if event.launch and not event.on_device}
    return np.array([calls.get(kernel.launch, kernel.start_ns) for kernel in kernels], np.int64)


def exclusive_ns(kernels: list[OperatorEvent]) -> list[int]:
    """Return how long each kernel has its device to itself, by the rule above; the sum is the time with any kernel."""
    order = sorted(range(len(kernels)), key=lambda i: (kind_of(kernels[i].name) == COLLECTIVE, kernels[i].start_ns))
    taken: list[int] = [0] * len(kernels)
    busy: list[tuple[int, int]] = []  # the time of the kernels so far, merged
    for collective in (False, True):
        mine = [i for i in order if (kind_of(kernels[i].name) == COLLECTIVE) == collective]
        until = 0
        before = busy
        for i in mine:
            start = max(kernels[i].start_ns, until)
            if kernels[i].end_ns > start:
                taken[i] = kernels[i].end_ns - start - overlap(before, start, kernels[i].end_ns)
                until = kernels[i].end_ns
        busy = merged([(kernels[i].start_ns, kernels[i].end_ns) for i in mine])
    return taken


def merged(intervals: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the union of intervals that are in the order of their starts."""
    union: list[tuple[int, int]] = []
    for start, end in intervals:
        if union and start <= union[-1][1]:
            union[-1] = (union[-1][0], max(end, union[-1][1]))
        else:
            union.append((start, end))
    return union


def overlap(union: list[tuple[int, int]], start: int, end: int) -> int:
    """Return how much of a time a union of intervals covers."""
    return sum(max(0, min(end, until) - max(start, since)) for since, until in union)


def slice_rows(events: Sequence[OperatorEvent], steps: Sequence[WorkerStep], lane: int) -> tuple[list[Row], int]:
    """Return the operators and kernels for a trace, at most the longest MOST_SLICES, and how many are left out."""
    if not steps:
        return [], 0
    first, last = steps[0].called, max(max(step.returned, step.sample_returned) for step in steps)
    shown = [
        event
        for event in events
        if event.end_ns > event.start_ns >= first and (event.on_device or (event.lane == lane and event.end_ns <= last))
    ]
    kept = sorted(shown, key=lambda event: event.start_ns - event.end_ns)[:MOST_SLICES]
    kept.sort(key=lambda event: (event.start_ns, -event.end_ns))
    rows = [
        (
            event.start_ns,
            event.end_ns - event.start_ns,
            DEVICE if event.on_device else HOST,
            event.lane if event.on_device else None,
            kind_of(event.name),
            event.name[:MOST_NAME],
        )
        for event in kept
    ]
    return rows, len(shown) - len(kept)
