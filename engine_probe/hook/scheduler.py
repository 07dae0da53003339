"""The hot path: attaches to one built scheduler and writes a row for every iteration.

`schedule` and `update_from_output` are replaced on the *instance*. What changes rarely (who joined, left, was
preempted, passed over) is carried by the counters of `RequestLedger` and `BlockCounters`, so that the work per
iteration does not grow with the batch. With a batch queue schedule() of N+1 runs before the update of N: the
two halves are paired by the `SchedulerOutput` object; rows follow the order of the updates, which is that of
the schedules.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import monotonic_ns as now
from typing import Any, NamedTuple

from engine_probe.hook.blocks import BlockCounters
from engine_probe.hook.ledger import RequestLedger
from engine_probe.hook.patches import Patches
from engine_probe.record.recorder import Recorder


class Scheduled(NamedTuple):
    """The first half of a row, waiting for its update."""

    output: Any  # vLLM's SchedulerOutput
    row: tuple[int, ...]
    returned: int  # when schedule() returned
    own_ns: int  # what the probe spent after that


class SchedulerHook:
    """The hooks on one scheduler. `on_failure` hears of any error of the probe's own, and detaches."""

    def __init__(
        self,
        scheduler: Any,
        recorder: Recorder,
        clock_offset_ns: int,
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._scheduler = scheduler
        self._append = recorder.append_iteration
        self._on_failure = on_failure
        self._patches = Patches()
        self._pending: deque[Scheduled] = deque()
        self._left_core = now()
        self._blocks = BlockCounters(scheduler.kv_cache_manager, self._patches, on_failure)
        self._ledger = RequestLedger(scheduler, recorder, self._blocks, self._patches, clock_offset_ns, on_failure)
        self._free_queue = self._blocks.free_queue
        # Up to 0.30 blocked requests wait in a queue of their own; since 0.31 they are a subset of two queues.
        self._second_queue: Any = getattr(scheduler, "skipped_waiting", None)
        self._deferred: Any = self._second_queue
        if self._second_queue is None:
            self._second_queue, self._deferred = scheduler.kv_holding_waiting, scheduler.deferred_waiting
        self._call_schedule = self._patches.replace(scheduler, "schedule", self._schedule)
        self._call_update = self._patches.replace(scheduler, "update_from_output", self._update)

    def detach(self) -> None:
        """Put back what was there; safe to call twice and from any thread."""
        self._patches.undo()

    def close(self) -> dict[str, Any]:
        """After detaching: hand over what is still open, audit the counters, say what has no row."""
        return {
            **self._ledger.close(),
            "iterations_without_update": len(self._pending),
            "counter_audit": self._blocks.audit() + self._ledger.audit(),
        }

    def _schedule(self, *args: Any, **kwargs: Any) -> Any:
        called = now()
        output = self._call_schedule(*args, **kwargs)
        returned = now()
        try:
            self._note_schedule(called, returned, output)
        except Exception as error:
            self._on_failure(error)
        return output

    def _note_schedule(self, called: int, returned: int, output: Any) -> None:
        ledger, blocks, scheduler = self._ledger, self._blocks, self._scheduler
        iteration = ledger.iteration
        tokens = output.num_scheduled_tokens
        num_scheduled = len(tokens)
        running = scheduler.running
        drafts = output.scheduled_spec_decode_tokens
        new = resumed = prefilling = prefill = recomputed = cached = 0
        if ledger.prefilling or output.scheduled_new_reqs or output.scheduled_cached_reqs.resumed_req_ids:
            new, resumed, prefilling, prefill, recomputed, cached = ledger.note_prefills(iteration, called, output)
        if ledger.idle or num_scheduled != len(running):
            ledger.note_idle(iteration, running, tokens)
        total = output.total_num_scheduled_tokens
        ledger.live_tokens += total + cached
        if ledger.speculates:
            ledger.recount_live_tokens(running)
        deferred = len(self._deferred)
        row = (
            iteration,
            called,
            called - self._left_core,
            returned - called,
            len(running),
            len(scheduler.waiting) + len(self._second_queue) - deferred,
            deferred,
            ledger.arrived,
            new,
            resumed,
            ledger.preempted,
            ledger.left_running,
            ledger.left_waiting,
            num_scheduled,
            total,
            prefill,
            num_scheduled - prefilling,
            sum(map(len, drafts.values())) if drafts else 0,
            recomputed,
            cached,
            blocks.total - self._free_queue.num_free_blocks,
            blocks.cached_free,
            blocks.shared,
            ledger.live_tokens,
        )
        ledger.arrived = ledger.preempted = ledger.left_running = ledger.left_waiting = 0
        ledger.iteration = iteration + 1
        self._left_core = returned
        self._pending.append(Scheduled(output, row, returned, now() - returned))

    def _update(self, scheduler_output: Any, *args: Any, **kwargs: Any) -> Any:
        # An update whose schedule() came before the probe has no first half: it is not ours to write.
        pending = self._pending
        scheduled = pending[0] if pending and pending[0].output is scheduler_output else None
        ledger = self._ledger
        ledger.updating = True
        if scheduled is not None:
            ledger.current = scheduled.row[0]
        called = now()
        outputs = self._call_update(scheduler_output, *args, **kwargs)
        returned = now()
        try:
            ledger.updating = False
            if scheduled is not None:
                pending.popleft()
                self._note_update(scheduled, called, returned, outputs)
            ledger.emit_finished(returned)
            self._left_core = returned
        except Exception as error:
            self._on_failure(error)
        return outputs

    def _note_update(self, scheduled: Scheduled, called: int, returned: int, outputs: dict[int, Any]) -> None:
        _, row, schedule_returned, own = scheduled
        ledger, blocks = self._ledger, self._blocks
        if ledger.watched:
            ledger.note_token_times(row[0], returned)
        if ledger.irregular or row[17]:  # drafts were scheduled: a step may deliver several tokens each
            delivered = ledger.note_deliveries(row[0], outputs)
        else:
            delivered = 0
            for batch in outputs.values():
                delivered += len(batch.outputs)
        ledger.updated, ledger.updated_ns = row[0], returned
        before_append = now()
        self._append(
            (
                *row,
                called - schedule_returned,
                returned - called,
                ledger.finished,
                delivered,
                blocks.total - self._free_queue.num_free_blocks,
                own + before_append - returned + ledger.own_ns + blocks.own_ns,
            )
        )
        ledger.finished = blocks.own_ns = 0
        # The cost of appending this row can only be told by the next one.
        ledger.own_ns = now() - before_append
