"""The requests in the engine: hooks on their events, and counters that the hot path only reads.

| state of a request | its track | entered by |
|---|---|---|
| waiting | in `tracks`, not `running` | `add_request` |
| prefilling | `running`, in `prefilling` | a `schedule()` that computes a part of its prompt |
| decoding | `running`, `run_start` set | the `schedule()` that computes the rest of its prompt |
| idle | `running`, in `idle` | a `schedule()` that gives it no tokens |
| preempted | not `running`, `open_preemption` set | `_preempt_request` |
| gone | no longer in `tracks`, its row written | `_free_request` |

A running request gets a token in nearly every step, so nothing is kept per token: only the stretches of
iterations in which it does. Every token time follows from them and the iterations table, offline.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import monotonic_ns as now
from typing import Any

from engine_probe.hook.block_counters import BlockCounters
from engine_probe.hook.marks import Marks
from engine_probe.hook.patches import Patches, argument
from engine_probe.hook.request_state import RequestTrack
from engine_probe.record.recorder import Recorder


class RequestLedger:
    """The requests of one scheduler, by id, from arrival to row."""

    def __init__(
        self,
        scheduler: Any,
        recorder: Recorder,
        blocks: BlockCounters,
        patches: Patches,
        marks: Marks,
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._scheduler = scheduler
        self._recorder = recorder
        self._blocks = blocks
        self._marks, self._patches = marks, patches
        self._on_failure = on_failure
        self.speculates = bool(scheduler.num_spec_tokens)
        self.tracks: dict[str, RequestTrack] = {}
        self.prefilling: dict[str, None] = {}  # running, its prompt not finished; a set that keeps order
        self.idle: set[str] = set()  # running, but passed over by the last schedule()
        self._watched: dict[int, list[tuple[RequestTrack, bool]]] = {}  # iteration -> whose first, last token
        # Up to 0.30 blocked requests wait in a queue of their own; since 0.31 they are a subset of two queues.
        second: Any = getattr(scheduler, "skipped_waiting", None)
        self.deferred: Any = second if second is not None else scheduler.deferred_waiting
        self._queues = (scheduler.waiting, second if second is not None else scheduler.kv_holding_waiting)
        # Flows since the last note, and the levels of the last one.
        self._came: deque[str] = deque()  # arrived; other threads may add requests
        self._preempted = self._left_running = self._left_waiting = 0
        self._noted = -1
        self.num_deferred = self.scheduled_tokens = 0
        self._live_tokens = 0
        # Within the update under way.
        self.updating: int | None = None  # the iteration it belongs to
        self._irregular = self.speculates  # some output of it may hold other than one token
        self.due = self.speculates  # the next update has more to note than how many tokens it delivered
        self._finished_now: list[RequestTrack] = []
        self.iteration = 0  # the number the next schedule() gets
        # The last iteration whose update has returned, and when.
        self.updated, self.updated_ns = -1, 0
        self._inexact_requests = 0
        self._call_add = patches.replace(scheduler, "add_request", self._add_request)
        self._call_preempt = patches.replace(scheduler, "_preempt_request", self._preempt_request)
        self._call_free = patches.replace(scheduler, "_free_request", self._free_request)

    def begin(self) -> None:
        """Take over the requests that are there already."""
        for request in self._scheduler.requests.values():
            self._adopt(request)

    # ---- events: once per request, or when it is preempted ----------------------------------------------

    def _add_request(self, *args: Any, **kwargs: Any) -> Any:
        queued = now()
        result = self._call_add(*args, **kwargs)
        if not self._patches.on:
            return result
        after = now()
        try:
            request = argument(args, kwargs, 0, "request")
            request_id = request.request_id
            # A further chunk of a streaming session comes under an id that is known already.
            if request_id not in self.tracks and request_id in self._scheduler.requests:
                self._arrive(request, queued)
            self._marks.own_ns += now() - after
        except Exception as error:
            self._on_failure(error)
        return result

    def _arrive(self, request: Any, queued_ns: int | None) -> RequestTrack:
        """Follow a request from now on; once, whichever thread sees it first."""
        track = RequestTrack(request, queued_ns)
        known = self.tracks.setdefault(request.request_id, track)
        if known is track:
            self._recorder.arrivals.append((request.request_id, queued_ns, request.num_prompt_tokens))
            self._came.append(request.request_id)
            self._marks.changed = True
        return known

    def _preempt_request(self, *args: Any, **kwargs: Any) -> Any:
        if not self._patches.on:
            return self._call_preempt(*args, **kwargs)
        before = now()
        try:
            request, blocks = argument(args, kwargs, 0, "request"), self._blocks
            lost, used, held = request.num_computed_tokens, blocks.used(), blocks.held(request.request_id)
            # What is in flight is still delivered, unless vLLM is told to drop it.
            dropped = args[2] if len(args) > 2 else kwargs.get("drop_stale_output", False)
        except Exception as error:
            self._on_failure(error)
            return self._call_preempt(*args, **kwargs)
        called = now()
        result = self._call_preempt(*args, **kwargs)
        after = now()
        try:
            track = self.tracks[request.request_id]
            self._stop_running(track, self.updated if dropped else self.iteration - 1)
            self._close_preemption(track)
            track.preempt(self.iteration, called, lost, held, used, blocks.used())
            self._preempted += 1
            self._marks.changed = True
            self._live_tokens -= lost
            self._marks.own_ns += now() - after + called - before
        except Exception as error:
            self._on_failure(error)
        return result

    def _free_request(self, *args: Any, **kwargs: Any) -> Any:
        if not self._patches.on:
            return self._call_free(*args, **kwargs)
        before = now()
        try:
            request = argument(args, kwargs, 0, "request")
            computed, held = request.num_computed_tokens, self._blocks.held(request.request_id)
        except Exception as error:
            self._on_failure(error)
            return self._call_free(*args, **kwargs)
        called = now()
        result = self._call_free(*args, **kwargs)
        after = now()
        try:
            if track := self.tracks.pop(request.request_id, None):
                self._note_leaving(track, computed, held, after)
            self._marks.own_ns += now() - after + called - before
        except Exception as error:
            self._on_failure(error)
        return result

    def _note_leaving(self, track: RequestTrack, computed: int, held: int, when: int) -> None:
        self._marks.changed = True
        if track.running:
            self._left_running += 1
            self._live_tokens -= computed
        else:
            self._left_waiting += 1
        # Its part in the update under way counts; an abort between steps loses what is in flight.
        self._stop_running(track, self.updated if self.updating is None else self.updating)
        self._close_preemption(track)
        track.finish(held)
        if self.updating is None:
            self._emit(track, when)
            return
        self._irregular |= track.reason not in ("stop", "length")
        self._finished_now.append(track)
        self.due = True

    def _emit(self, track: RequestTrack, when: int) -> None:
        if not track.is_exact():
            self._inexact_requests += 1
            track.forget_tokens()
        self._recorder.requests.append(tuple(track.row(when).values()))

    # ---- within schedule(): only for the requests that something happens to ------------------------------

    def note_changes(self, iteration: int, called: int, output: Any) -> None:
        """The note of an iteration in which somebody came, left, was passed over or computed a prompt."""
        tokens, drafts, running = (
            output.num_scheduled_tokens,
            output.scheduled_spec_decode_tokens,
            self._scheduler.running,
        )
        self._marks.changed = False  # before anything is read: whoever adds a request meanwhile is seen next time
        new, resumed, prefilling, prefill, recomputed, cached = self._note_prefills(iteration, called, output)
        if self.idle or len(tokens) != len(running):
            self._note_idle(iteration, running, tokens)
        flows = self._count_arrived(), new, resumed, self._preempted, self._left_running, self._left_waiting
        speculative = sum(map(len, drafts.values())) if drafts else 0
        self._live_tokens = self._live_after(iteration - 1) + output.total_num_scheduled_tokens + cached
        if self.speculates:
            # Rejected drafts are taken back request by request: only the sum over the batch is exact.
            self._live_tokens = sum(request.num_computed_tokens for request in running)
        self._noted, self.scheduled_tokens = iteration, output.total_num_scheduled_tokens
        self.num_deferred = len(self.deferred)
        levels = len(running), sum(map(len, self._queues)), self.num_deferred, len(tokens), self.scheduled_tokens
        pool = self._blocks.cached_free, self._blocks.shared
        prefills = prefilling, prefill, speculative, recomputed, cached
        self._recorder.changes.append((iteration, *flows, *prefills, *levels, *pool, self._live_tokens))
        self._preempted = self._left_running = self._left_waiting = 0
        self._marks.changed |= self.speculates or bool(self.prefilling) or bool(self.idle)

    def _count_arrived(self) -> int:
        return len([self._came.popleft() for _ in range(len(self._came))])

    def _live_after(self, iteration: int) -> int:
        """Since the last note every iteration scheduled the same number of tokens."""
        return self._live_tokens + (iteration - self._noted) * self.scheduled_tokens

    def _note_prefills(self, iteration: int, called: int, output: Any) -> tuple[int, int, int, int, int, int]:
        """Requests admitted now, and those whose prompt is not finished: a few of the batch.

        Returns how many are new, resumed and given tokens, and their prefill, recomputed and cached tokens.
        """
        tokens, drafts = output.num_scheduled_tokens, output.scheduled_spec_decode_tokens
        new = resumed = scheduled = prefill = recomputed = cached = 0
        candidates = dict.fromkeys(data.req_id for data in output.scheduled_new_reqs)
        candidates |= dict.fromkeys(output.scheduled_cached_reqs.resumed_req_ids)
        candidates |= self.prefilling
        for request_id in candidates:
            num_tokens = tokens.get(request_id, 0)
            if not num_tokens:
                continue
            # Another thread may have added it, and not have come as far as to say so.
            track = self.tracks.get(request_id) or self._arrive(self._scheduler.requests[request_id], None)
            # schedule() has already moved num_computed_tokens past this chunk.
            start = track.request.num_computed_tokens - num_tokens
            num_tokens -= len(drafts.get(request_id, ()))
            scheduled += 1
            prefill += num_tokens
            if not track.running:
                cached += start
                # vLLM's second model runner lists resumed requests among the new ones.
                came_back = track.admit(iteration, called, start)
                resumed += came_back
                new += not came_back
            recomputed += track.recompute(start, start + num_tokens)
            if start + num_tokens >= track.lost_until:
                self._close_preemption(track)
            if track.request.is_prefill_chunk:
                self.prefilling[request_id] = None
            else:
                self.prefilling.pop(request_id, None)
                self._open_run(track, iteration)
        return new, resumed, scheduled, prefill, recomputed, cached

    def _note_idle(self, iteration: int, running: list[Any], tokens: dict[str, int]) -> None:
        """Running requests that schedule() passed over deliver nothing: their stretches end, or begin again."""
        missing = len(running) - len(tokens)
        idle: set[str] = set()
        for request in reversed(running):  # what the token budget cuts off is the tail
            if len(idle) == missing:
                break
            if request.request_id not in tokens:
                idle.add(request.request_id)
        for request_id in idle - self.idle:
            self._close_run(self.tracks[request_id], iteration - 1)
        for request_id in self.idle - idle - self.prefilling.keys():
            self._open_run(self.tracks[request_id], iteration)
        self.idle = idle

    # ---- within the update ------------------------------------------------------------------------------

    def note_update(self, iteration: int, returned: int, outputs: dict[int, Any]) -> int:
        """The update of an iteration in which somebody's first or last token came; how many tokens it delivered."""
        for track, is_first in self._watched.pop(iteration, ()):
            if is_first:
                track.first_token_ns = returned
            else:
                track.last_token_ns = returned
        delivered = self._note_deliveries(iteration, outputs) if self._irregular else count_outputs(outputs)
        if self._finished_now:
            if iteration > self.updated:  # an update that was scheduled before the probe came has no row
                self._recorder.finished.append((iteration, len(self._finished_now)))
            for track in self._finished_now:
                self._emit(track, returned)
            self._finished_now.clear()
        self.due = bool(self._watched) or self._irregular
        return delivered

    def _note_deliveries(self, iteration: int, outputs: dict[int, Any]) -> int:
        """Tokens per request where a step may deliver other than one each."""
        self._irregular = self.speculates
        finished = {track.request_id: track for track in self._finished_now}
        delivered = 0
        for batch in outputs.values():
            for output in batch.outputs:
                count = len(output.new_token_ids)
                delivered += count
                track = self.tracks.get(output.request_id) or finished.get(output.request_id)
                if track is not None and count != 1:
                    track.bursts.append((iteration, count))
        return delivered

    # ---- stretches --------------------------------------------------------------------------------------

    def _open_run(self, track: RequestTrack, iteration: int) -> None:
        if track.first_token_iteration is None and not track.adopted:
            track.first_token_iteration = iteration
            self._watch(iteration, track, True)
        if track.run_start is None:
            track.run_start = iteration

    def _close_run(self, track: RequestTrack, last: int) -> None:
        if not track.close_run(last):
            return
        if last == self.updated:
            track.last_token_ns = self.updated_ns
        else:
            self._watch(last, track, False)

    def _watch(self, iteration: int, track: RequestTrack, is_first: bool) -> None:
        self._watched.setdefault(iteration, []).append((track, is_first))
        self.due = True

    def _stop_running(self, track: RequestTrack, last: int) -> None:
        self.prefilling.pop(track.request_id, None)
        self.idle.discard(track.request_id)
        self._close_run(track, last)

    def _close_preemption(self, track: RequestTrack) -> None:
        if track.open_preemption is not None:
            self._recorder.preemptions.append(tuple(track.preemption_row().values()))

    def _adopt(self, request: Any) -> None:
        """A request that was there before the probe: what came before stays unknown."""
        track = self.tracks[request.request_id] = RequestTrack(request, None)
        self._recorder.arrivals.append((request.request_id, None, request.num_prompt_tokens))
        if request.status.name != "RUNNING":
            return
        track.adopt()
        self._live_tokens += request.num_computed_tokens
        if request.is_prefill_chunk:
            self.prefilling[request.request_id] = None
            self._marks.changed = True
        else:
            self._open_run(track, 0)

    # ---- at the end -------------------------------------------------------------------------------------

    def close(self) -> dict[str, int]:
        for track in self.tracks.values():
            self._close_preemption(track)
        return {
            "requests_in_flight_at_close": len(self.tracks),
            "requests_with_unknown_token_times": self._inexact_requests,
        }

    def audit(self) -> list[str]:
        """Compare what the counters say with a walk over the scheduler; each difference is one sentence."""
        if self.speculates:
            return []  # counted anew in every step
        true = sum(request.num_computed_tokens for request in self._scheduler.running)
        told = self._live_after(self.iteration - 1)
        if true == told:
            return []
        return [f"kv_tokens_live ended at {told}, the running requests hold {true}"]


def count_outputs(outputs: dict[int, Any]) -> int:
    return sum(len(batch.outputs) for batch in outputs.values())
