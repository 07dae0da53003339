"""The hot path: replaces two methods of one scheduler and packs a row for every iteration.

If no request arrived, left or was preempted, they only read the clock and the number of free blocks; `RequestCounters`
and `BlockCounters` count the rest when it happens. So the cost of a step does not grow with the batch. With a batch
queue, `schedule()` of step N+1 runs before `update_from_output()` of step N: the `SchedulerOutput` matches the halves.
"""

from collections import deque
from collections.abc import Callable
from time import monotonic_ns as now
from typing import Any

from engine_probe.hook.admission import Admission
from engine_probe.hook.block_counters import BlockCounters
from engine_probe.hook.patches import Patches
from engine_probe.hook.rare_events import RareEvents
from engine_probe.hook.request_counters import RequestCounters
from engine_probe.record.recorder import CHECK_ROWS, RING_ROWS, ROW_BYTES, Recorder, WriterBehindError, pack_row


class SchedulerHook:
    """Hooks one scheduler. The first error of the probe's own goes to `on_failure`, which must detach the hook."""

    def __init__(self, scheduler: Any, recorder: Recorder, on_failure: Callable[[BaseException], None]) -> None:
        self.scheduler, self._recorder, self._patches = scheduler, recorder, Patches()
        self._events = events = RareEvents(self._patches, on_failure)
        self._pending: deque[tuple[Any, int, int, int, int, int, int]] = deque()  # scheduled, not updated yet
        try:
            self._blocks = BlockCounters(scheduler.kv_cache_manager, events)
            self._admission = Admission(scheduler, events)
            self._requests = RequestCounters(scheduler, recorder, self._blocks, self._admission, events)
            recorder.kv_blocks = self._blocks.total
            self._patches.replace(scheduler, "schedule", self._schedule_hook(scheduler.schedule))
            self._patches.replace(scheduler, "update_from_output", self._update_hook(scheduler.update_from_output))
        except BaseException:
            self._patches.undo()
            raise

    def begin(self) -> None:
        """Count what is in the engine, and record from the next step on; no thread may be inside the scheduler."""
        self._blocks.begin()
        self._requests.begin()
        self._patches.active = True

    def audit(self) -> list[str]:
        """Stop recording and compare the counters with what is in the engine; no thread may be inside the scheduler."""
        was_active, self._patches.active = self._patches.active, False
        return self._blocks.audit() + self._requests.audit() if was_active else []

    def detach(self) -> None:
        """Put the scheduler's methods back; safe to call twice and from any thread."""
        self._patches.undo()
        self._admission.watched.undo()

    def close(self) -> dict[str, Any]:
        """End the open preemptions and return what `run.json` says about the hook."""
        return {**self._requests.close(), "iterations_without_update": len(self._pending)}

    # Closures over local names: after a step the CPU's caches are cold, which doubles the cost of an attribute.
    def _schedule_hook(self, call_schedule: Callable[..., Any]) -> Callable[..., Any]:
        """Return the replacement of `schedule()`, which keeps the first half of a row."""
        requests, events, patches, pending = self._requests, self._events, self._patches, self._pending
        admission, deferred = self._admission, self._admission.deferred
        free_queue, fail, iteration = self._blocks.free_queue, events.fail, 0

        def schedule(*args: Any, **kwargs: Any) -> Any:
            nonlocal iteration
            if not patches.active:
                return call_schedule(*args, **kwargs)
            called = now()
            output = call_schedule(*args, **kwargs)
            returned = now()
            try:
                reason = admission.reason(output) if events.changed or requests.num_queued or admission.head else 0
                if (
                    events.changed
                    or reason != requests.reason
                    or output.total_num_scheduled_tokens != requests.scheduled_tokens
                    or output.scheduled_new_reqs
                    or output.scheduled_cached_reqs.resumed_req_ids
                    or (requests.num_queued and len(deferred) != requests.num_deferred)
                ):
                    requests.note_changes(iteration, called, output, reason)
                free = free_queue.num_free_blocks
                pending.append((output, iteration, events.left_core_ns, called, returned, free, now() - returned))
                requests.iteration = iteration = iteration + 1
                events.left_core_ns = returned
            except Exception as error:
                fail(error)
            return output

        return schedule

    def _update_hook(self, call_update: Callable[..., Any]) -> Callable[..., Any]:
        """Return the replacement of `update_from_output()`, which packs the whole row."""
        requests, events, patches, pending = self._requests, self._events, self._patches, self._pending
        recorder, ring, free_queue, fail = self._recorder, self._recorder.ring, self._blocks.free_queue, events.fail
        update_probe_ns = 0  # time the probe spent after the last update returned

        def update(*args: Any, **kwargs: Any) -> Any:
            nonlocal update_probe_ns
            if not patches.active:
                return call_update(*args, **kwargs)
            scheduler_output = args[0] if args else kwargs.get("scheduler_output")
            # A step that was scheduled before the probe attached has no first half, and gets no row.
            has_row = pending and pending[0][0] is scheduler_output
            if has_row:
                _, iteration, left_core, schedule_called, schedule_returned, free, probe_ns = pending.popleft()
            else:
                iteration = requests.updated
            requests.updating = iteration
            called = now()
            outputs = call_update(*args, **kwargs)
            returned = now()
            try:
                requests.updating = None
                delivered = 0
                if requests.note_due:
                    delivered = requests.note_update(iteration, returned, outputs)
                else:
                    for batch in outputs.values():
                        delivered += len(batch.outputs)
                if has_row:
                    if not iteration % CHECK_ROWS and iteration - recorder.taken >= RING_ROWS - CHECK_ROWS:
                        raise WriterBehindError(f"{iteration - recorder.taken} iterations are waiting for the disk")
                    probe_ns += update_probe_ns + events.probe_ns
                    pack_row(
                        ring, iteration % RING_ROWS * ROW_BYTES, left_core, schedule_called, schedule_returned, free,
                        called, returned, delivered, free_queue.num_free_blocks, probe_ns,
                    )  # fmt: skip
                    events.probe_ns, requests.updated, requests.updated_ns = 0, iteration, returned
                    recorder.appended = iteration + 1
                elif scheduler_output is None:
                    raise KeyError("update_from_output is called without scheduler_output")
                events.left_core_ns = returned
                update_probe_ns = now() - returned
            except Exception as error:
                fail(error)
            return outputs

        return update
