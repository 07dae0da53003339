"""The hot path: replaces two methods of one scheduler and appends a row for every iteration.

If no request arrived, left or was preempted, they only read the clock and the number of free blocks; `RequestCounters`
and `BlockCounters` count the rest when it happens. So the cost of a step does not grow with the batch. With a batch
queue, `schedule()` of step N+1 runs before `update_from_output()` of step N: the `SchedulerOutput` matches the halves.
"""

from collections.abc import Callable
from itertools import count
from time import monotonic_ns as now
from typing import Any

from engine_probe.hook.admission import Admission
from engine_probe.hook.block_counters import BlockCounters
from engine_probe.hook.rare_events import RareEvents
from engine_probe.hook.request_counters import RequestCounters
from engine_probe.record.recorder import MOST_WAITING, Recorder


class SchedulerHook:
    """Hooks one scheduler. The first error of the probe's own goes to `on_failure`, which must detach the hook."""

    def __init__(self, scheduler: Any, recorder: Recorder, on_failure: Callable[[BaseException], None]) -> None:
        self.scheduler, self._recorder = scheduler, recorder
        self._events = events = RareEvents(on_failure, recorder.last_row)
        try:
            self._blocks = BlockCounters(scheduler.kv_cache_manager, events)
            self._admission = Admission(scheduler, events)
            self._requests = RequestCounters(scheduler, recorder, self._blocks, self._admission, events)
            recorder.kv_blocks = self._blocks.total
            self._events.replace(scheduler, "schedule", self._schedule_hook(scheduler.schedule))
            self._events.replace(scheduler, "update_from_output", self._update_hook(scheduler.update_from_output))
        except BaseException:
            self._events.undo()
            raise

    def begin(self) -> None:
        """Count what is in the engine, and record from the next step on; no thread may be inside the scheduler."""
        self._blocks.begin()
        self._requests.begin()
        self._events.active = True

    def audit(self) -> list[str]:
        """Stop recording and compare the counters with what is in the engine; no thread may be inside the scheduler."""
        was_active, self._events.active = self._events.active, False
        return self._blocks.audit() + self._requests.audit() if was_active else []

    def detach(self) -> None:
        """Put the scheduler's methods back; safe to call twice and from any thread."""
        self._events.undo()
        self._admission.watched.undo()

    def close(self) -> dict[str, Any]:
        """End the open preemptions and return what `run.json` says about the hook."""
        return {**self._requests.close(), "iterations_without_update": len(self._events.pending)}

    # Closures over local names: after a step the CPU's caches are cold, and every object that is touched costs a miss.
    # So no number is kept from one step to the next but in the rows, and what is read lies together in `events`.
    def _schedule_hook(self, call_schedule: Callable[..., Any]) -> Callable[..., Any]:
        """Return the replacement of `schedule()`, which keeps the first half of a row."""
        events, keep, note_changes = self._events, self._events.pending.append, self._requests.note_changes
        free_queue, clock, next_number = self._blocks.free_queue, now, count().__next__

        def schedule(*args: Any, **kwargs: Any) -> Any:
            if not events.active:
                return call_schedule(*args, **kwargs)
            called = clock()
            output = call_schedule(*args, **kwargs)
            returned = clock()
            try:
                iteration = next_number()
                if (
                    events.changed
                    or events.waiting
                    or output.total_num_scheduled_tokens != events.scheduled_tokens
                    or output.scheduled_new_reqs  # added by another thread, which has not told it yet
                ):
                    note_changes(iteration, called, output)
                free = free_queue.num_free_blocks
                keep((output, iteration, events.left_core_ns, called, returned, free, clock()))
                events.left_core_ns = returned
            except Exception as error:
                events.fail(error)
            return output

        return schedule

    def _update_hook(self, call_update: Callable[..., Any]) -> Callable[..., Any]:
        """Return the replacement of `update_from_output()`, which appends the whole row."""
        events, pending, note_update = self._events, self._events.pending, self._requests.note_update
        rows, append_row = self._recorder.iterations, self._recorder.iterations.append
        free_queue, clock, size, most_waiting = self._blocks.free_queue, now, len, MOST_WAITING

        def update(*args: Any, **kwargs: Any) -> Any:
            if not events.active:
                return call_update(*args, **kwargs)
            scheduler_output = args[0] if args else kwargs.get("scheduler_output")
            # A step that was scheduled before the probe attached has no first half, and gets no row.
            half = pending[0] if pending and pending[0][0] is scheduler_output else None
            events.updating = iteration = half[1] if half else events.updated
            called = clock()
            outputs = call_update(*args, **kwargs)
            returned = clock()
            try:
                events.updating = None
                delivered = 0
                for batch in outputs.values():
                    delivered += size(batch.outputs)
                if events.note_due:
                    delivered = note_update(iteration, returned, outputs, delivered)
                if half:
                    if size(rows) >= most_waiting:
                        raise RuntimeError(f"{most_waiting} iterations are waiting for the disk")
                    _, _, left_core, schedule_called, schedule_returned, free, noted = pending.popleft()
                    append_row((
                        iteration, left_core, schedule_called, schedule_returned, free, noted, called, returned,
                        delivered, free_queue.num_free_blocks, events.probe_ns, clock(),
                    ))  # fmt: skip
                    events.probe_ns = 0
                elif scheduler_output is None:
                    raise KeyError("update_from_output is called without scheduler_output")
                events.left_core_ns = returned
            except Exception as error:
                events.fail(error)
            return outputs

        return update
