"""The hot path: attaches to one built scheduler and packs a row for every iteration.

`schedule` and `update_from_output` are replaced on the *instance*. In a step in which nobody came or left they read
the clock and the number of free blocks; all else is counted by `RequestLedger` and `BlockCounters` when it happens,
so the work does not grow with the batch. With a batch queue schedule() of N+1 runs before the update of N: the halves
of a row are paired by the `SchedulerOutput` object; rows follow the order of the updates, as of the schedules.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import monotonic_ns as now
from typing import Any

from engine_probe.hook.between_steps import between_steps
from engine_probe.hook.block_counters import BlockCounters
from engine_probe.hook.marks import Marks
from engine_probe.hook.patches import Patches
from engine_probe.hook.request_counters import RequestLedger
from engine_probe.record.recorder import CHECK_ROWS, RING_ROWS, ROW_BYTES, Recorder, WriterBehindError, pack_row


class SchedulerHook:
    """The hooks on one scheduler. `on_failure` hears of any error of the probe's own, and detaches."""

    def __init__(self, scheduler: Any, recorder: Recorder, on_failure: Callable[[BaseException], None]) -> None:
        self._scheduler, self._recorder, self._on_failure = scheduler, recorder, on_failure
        self._patches, self._marks = Patches(), Marks()
        self._pending: deque[tuple[Any, int, int, int, int, int, int]] = deque()  # scheduled, not updated yet
        try:
            self._attach()
        except BaseException:
            self._patches.undo()
            raise

    def _attach(self) -> None:
        scheduler, recorder, fail = self._scheduler, self._recorder, self._on_failure
        self._blocks = BlockCounters(scheduler.kv_cache_manager, self._patches, self._marks, fail)
        self._ledger = RequestLedger(scheduler, recorder, self._blocks, self._patches, self._marks, fail)
        recorder.kv_blocks = self._blocks.total
        self._hook_methods()
        with between_steps(scheduler) as busy:
            if busy:
                raise TimeoutError(busy)
            self._blocks.begin()
            self._ledger.begin()
            self._patches.on = True

    def detach(self) -> None:
        """Put back what was there; safe to call twice and from any thread."""
        self._patches.undo()

    def close(self) -> dict[str, Any]:
        """Detach, hand over what is still open, audit the counters, say what has no row."""
        try:
            with between_steps(self._scheduler) as busy:
                audit = self._blocks.audit() + self._ledger.audit() if self._patches.on and not busy else []
                self._patches.on = False
        finally:
            self._patches.undo()
        audited = {"counter_audit": audit, "counters_not_audited": busy}
        return {**self._ledger.close(), "iterations_without_update": len(self._pending), **audited}

    def _hook_methods(self) -> None:
        """Functions over local names: in a step of 85 µs every attribute looked up costs twice what it costs warm."""
        scheduler, ledger, recorder, marks = self._scheduler, self._ledger, self._recorder, self._marks
        deferred, free_queue, fail = ledger.deferred, self._blocks.free_queue, self._on_failure
        pending, ring, patches = self._pending, recorder.ring, self._patches
        scheduled = 0  # iterations so far
        left_core, update_own = now(), 0  # last return out of the scheduler; the probe's own time after the last update

        def schedule(*args: Any, **kwargs: Any) -> Any:
            nonlocal left_core, scheduled
            if not patches.on:
                return call_schedule(*args, **kwargs)
            called = now()
            output = call_schedule(*args, **kwargs)
            returned = now()
            try:
                if (
                    marks.changed
                    or output.total_num_scheduled_tokens != ledger.scheduled_tokens
                    or output.scheduled_new_reqs
                    or output.scheduled_cached_reqs.resumed_req_ids
                    or len(deferred) != ledger.num_deferred
                ):
                    ledger.note_changes(scheduled, called, output)
                free = free_queue.num_free_blocks
                pending.append((output, scheduled, left_core, called, returned, free, now() - returned))
                ledger.iteration = scheduled = scheduled + 1
                left_core = returned
            except Exception as error:
                fail(error)
            return output

        def update(*args: Any, **kwargs: Any) -> Any:
            nonlocal left_core, update_own
            if not patches.on:
                return call_update(*args, **kwargs)
            scheduler_output = args[0] if args else kwargs.get("scheduler_output")
            # An update whose schedule() came before the probe has no first half: it is not ours to write.
            known = pending and pending[0][0] is scheduler_output
            if known:
                _, iteration, before, schedule_called, schedule_returned, free, own = pending.popleft()
            else:
                iteration = ledger.updated
            ledger.updating = iteration
            called = now()
            outputs = call_update(*args, **kwargs)
            returned = now()
            try:
                ledger.updating = None
                delivered = 0
                if ledger.due:
                    delivered = ledger.note_update(iteration, returned, outputs)
                else:
                    for batch in outputs.values():
                        delivered += len(batch.outputs)
                if known:
                    if not iteration % CHECK_ROWS and iteration - recorder.taken >= RING_ROWS - CHECK_ROWS:
                        raise WriterBehindError(f"{iteration - recorder.taken} iterations are waiting for the disk")
                    pack_row(
                        ring, iteration % RING_ROWS * ROW_BYTES, before, schedule_called, schedule_returned, free,
                        called, returned, delivered, free_queue.num_free_blocks, own + update_own + marks.own_ns,
                    )  # fmt: skip
                    marks.own_ns = 0
                    ledger.updated, ledger.updated_ns = iteration, returned
                    recorder.appended = iteration + 1
                elif scheduler_output is None:
                    raise KeyError("update_from_output is called without scheduler_output")
                left_core = returned
                update_own = now() - returned
            except Exception as error:
                fail(error)
            return outputs

        call_schedule = patches.replace(scheduler, "schedule", schedule)
        call_update = patches.replace(scheduler, "update_from_output", update)
