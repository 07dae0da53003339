"""The hot path: replaces two methods of one scheduler and packs a row for every iteration.

If no request arrived, left or was preempted, they only read the clock and the number of free blocks; `RequestCounters`
and `BlockCounters` count the rest when it happens. So the cost of a step does not grow with the batch. With a batch
queue, `schedule()` of step N+1 runs before `update_from_output()` of step N: the `SchedulerOutput` matches the halves.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import monotonic_ns as now
from typing import Any

from engine_probe.hook.between_steps import between_steps
from engine_probe.hook.block_counters import BlockCounters
from engine_probe.hook.patches import Patches
from engine_probe.hook.rare_events import RareEvents
from engine_probe.hook.request_counters import RequestCounters
from engine_probe.record.recorder import CHECK_ROWS, RING_ROWS, ROW_BYTES, Recorder, WriterBehindError, pack_row


class SchedulerHook:
    """Hooks one scheduler. The first error of the probe's own goes to `on_failure`, which must detach the hook."""

    def __init__(self, scheduler: Any, recorder: Recorder, on_failure: Callable[[BaseException], None]) -> None:
        self._scheduler, self._recorder, self._on_failure = scheduler, recorder, on_failure
        self._patches, self._events = Patches(), RareEvents()
        self._pending: deque[tuple[Any, int, int, int, int, int, int]] = deque()  # scheduled, not updated yet
        try:
            self._attach()
        except BaseException:
            self._patches.undo()
            raise

    def _attach(self) -> None:
        scheduler, recorder, fail = self._scheduler, self._recorder, self._on_failure
        self._blocks = BlockCounters(scheduler.kv_cache_manager, self._patches, self._events, fail)
        self._requests = RequestCounters(scheduler, recorder, self._blocks, self._patches, self._events, fail)
        recorder.kv_blocks = self._blocks.total
        self._events.left_core_ns = now()
        self._patches.replace(scheduler, "schedule", self._schedule_hook(scheduler.schedule))
        self._patches.replace(scheduler, "update_from_output", self._update_hook(scheduler.update_from_output))
        with between_steps(scheduler) as busy:
            if busy:
                raise TimeoutError(busy)
            self._blocks.begin()
            self._requests.begin()
            self._patches.active = True

    def detach(self) -> None:
        """Put the scheduler's methods back; safe to call twice and from any thread."""
        self._patches.undo()

    def close(self) -> dict[str, Any]:
        """Detach, end the open preemptions, audit the counters and return what `run.json` says about it."""
        try:
            with between_steps(self._scheduler) as busy:
                audit = self._blocks.audit() + self._requests.audit() if self._patches.active and not busy else []
                self._patches.active = False
        finally:
            self._patches.undo()
        audited = {"counter_audit": audit, "counters_not_audited": busy}
        return {**self._requests.close(), "iterations_without_update": len(self._pending), **audited}

    # Closures over local names: after a step the CPU's caches are cold, which doubles the cost of an attribute.
    def _schedule_hook(self, call_schedule: Callable[..., Any]) -> Callable[..., Any]:
        """Return the replacement of `schedule()`, which keeps the first half of a row."""
        requests, events, patches, pending = self._requests, self._events, self._patches, self._pending
        deferred, free_queue, fail = requests.deferred, self._blocks.free_queue, self._on_failure
        iteration = 0

        def schedule(*args: Any, **kwargs: Any) -> Any:
            nonlocal iteration
            if not patches.active:
                return call_schedule(*args, **kwargs)
            called = now()
            output = call_schedule(*args, **kwargs)
            returned = now()
            try:
                if (
                    events.changed
                    or output.total_num_scheduled_tokens != requests.scheduled_tokens
                    or output.scheduled_new_reqs
                    or output.scheduled_cached_reqs.resumed_req_ids
                    or len(deferred) != requests.num_deferred
                ):
                    requests.note_changes(iteration, called, output)
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
        recorder, free_queue, fail = self._recorder, self._blocks.free_queue, self._on_failure
        ring = recorder.ring
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
                    events.probe_ns = 0
                    requests.updated, requests.updated_ns = iteration, returned
                    recorder.appended = iteration + 1
                elif scheduler_output is None:
                    raise KeyError("update_from_output is called without scheduler_output")
                events.left_core_ns = returned
                update_probe_ns = now() - returned
            except Exception as error:
                fail(error)
            return outputs

        return update
