"""Why a waiting request was not admitted in a step, as vLLM's scheduler decided it.

`schedule()` looks at waiting requests one by one and stops at the first that it refuses. A hook on the queues notes the
request it looked at last, and hooks what is allocated from then on, which is for waiting requests only. So a refusal
for want of KV blocks is seen where it happens; the other reasons leave their mark on the scheduler.
"""

from typing import Any

from engine_probe.hook.patches import Patches
from engine_probe.hook.rare_events import Call, RareEvents
from engine_probe.record.schema import WaitingReason as Reason

BLOCKED = {  # by the name of vLLM's status
    "WAITING_FOR_REMOTE_KVS": Reason.REMOTE_KV,
    "WAITING_FOR_STRUCTURED_OUTPUT_GRAMMAR": Reason.GRAMMAR,
    "WAITING_FOR_STREAMING_REQ": Reason.STREAMING_INPUT,
}


class Admission:
    """Follows one scheduler's loop over its waiting requests."""

    def __init__(self, scheduler: Any, events: RareEvents) -> None:
        self._scheduler, self._events = scheduler, events
        self._manager = scheduler.kv_cache_manager
        self._watermark: int = self._manager.watermark_blocks
        self.head: Any = None  # the waiting request that schedule() looked at last
        self.preempted = False  # this schedule() preempted a request, and then looks at no waiting one
        self._refused, self._needed = Reason.NOBODY, 0
        self.local_hits: dict[str, int] = {}  # tokens in the prefix cache when blocks were allocated, until admission
        # Until 0.30 deferred requests wait in a queue of their own; since 0.31 they are a subset of two queues.
        second: Any = getattr(scheduler, "skipped_waiting", None)
        self.deferred: Any = second if second is not None else scheduler.deferred_waiting
        self.queues = (second if second is not None else scheduler.kv_holding_waiting, scheduler.waiting)
        self._peeks = [events.hook(queue, "peek_request", self._note_look) for queue in self.queues]
        self.watched = Patches()  # replaced only while schedule() looks at waiting requests

    def _note_look(self, call: Call) -> None:
        if self.head is None:
            self._events.waiting = True  # so that the hot path asks for the reason, which puts the methods back
            self.watched, manager = Patches(), self._manager
            self._call_allocate = self.watched.replace(manager, "allocate_slots", self._allocate)
            if self._watermark:
                coordinator = manager.coordinator
                self._call_count = self.watched.replace(coordinator, "get_num_blocks_to_allocate", self._count_needed)
        self.head = call.result

    def _count_needed(self, *args: Any, **kwargs: Any) -> Any:
        self._needed = self._call_count(*args, **kwargs)
        return self._needed

    def _allocate(self, *args: Any, **kwargs: Any) -> Any:
        blocks = self._call_allocate(*args, **kwargs)
        try:
            self._note_allocation(blocks, kwargs)
        except Exception as error:
            self._events.fail(error)
        return blocks

    def _note_allocation(self, blocks: Any, asked: dict[str, Any]) -> None:
        if blocks is None:
            free = self._manager.block_pool.free_block_queue.num_free_blocks - asked.get("reserved_blocks", 0)
            fits = self._watermark and self._needed <= free
            self._refused = Reason.WATERMARK if fits else Reason.KV_BLOCKS
        elif not self.head.num_computed_tokens:  # else a load has ended that began with an allocation of its own
            self.local_hits[self.head.request_id] = asked.get("num_new_computed_tokens", 0)

    def reason(self, output: Any) -> Reason:
        """Return why the first ready request was not admitted, or the first blocked one if none is ready."""
        head, refused, preempted = self.head, self._refused, self.preempted
        if head is not None:
            self.watched.undo()
            self.head, self._refused = None, Reason.NOBODY
        self.preempted = False
        second, first = self.queues
        queued = len(second) + len(first)
        if not queued:
            return Reason.NOBODY
        if preempted:
            return Reason.PREEMPTION
        if refused:
            return refused
        if self._scheduler._pause_state:
            return Reason.PAUSE
        if queued <= len(self.deferred):
            return self._deferral(self._peeks[0 if second else 1]())
        running = self._scheduler.running
        if head is None or (running and running[-1] is head):  # it stopped before it looked at the next
            return self._limit(output, len(running))
        if not self._scheduler.prefill_capacity_bound:  # true if a step without throttling left one
            return Reason.PREFILL_INTERVAL
        return Reason.ENCODER if head.has_encoder_inputs else Reason.TOKEN_BUDGET

    def _deferral(self, head: Any) -> Reason:
        if blocked := BLOCKED.get(head.status.name):
            return blocked
        scheduler = self._scheduler
        return Reason.LORA_SLOTS if head.lora_request and scheduler.connector is None else Reason.OTHER_DEFERRAL

    def _limit(self, output: Any, running: int) -> Reason:
        """Return which limit of a step is reached."""
        scheduler, tokens = self._scheduler, output.total_num_scheduled_tokens
        if tokens >= scheduler.max_num_scheduled_tokens:
            return Reason.TOKEN_BUDGET
        if (most := getattr(scheduler, "max_num_active_reqs", None)) is not None:
            running += scheduler.num_waiting_for_streaming_input  # these sessions keep their places
            if most <= running and most < scheduler.max_num_running_reqs:
                return Reason.MAX_NUM_ACTIVE_SEQS
        if running >= scheduler.max_num_running_reqs:
            return Reason.MAX_NUM_SEQS
        config = scheduler.vllm_config
        slots = config.speculative_config.max_num_new_slots_for_drafting if config.speculative_config else 0
        left = scheduler.scheduler_config.max_num_batched_tokens - tokens - slots * len(output.num_scheduled_tokens)
        return Reason.DRAFT_SLOTS if left <= slots else Reason.UNKNOWN
