"""Counters over the requests in the engine, kept up to date by hooks on rare events; the hot path only reads them.

| a request is | when | entered by |
|---|---|---|
| waiting | it is in `states`, not `running` | `add_request` |
| prefilling | it is `running` and in `prefilling` | a `schedule()` that computes a part of its prompt |
| decoding | it is `running` and has a `stretch_start` | the `schedule()` that computes the rest of its prompt |
| idle | it is `running` and in `idle` | a `schedule()` that gives it no tokens |
| preempted | it is not `running` and has an `open_preemption` | `_preempt_request` |
| between turns | it is not `running`, and its `turns` grew | `_handle_stopped_request`, for a streaming session |
| finished | it is no longer in `states`, and its row is written | `_free_request` |

A stretch is a run of consecutive iterations that each gave the request a token. A running request gets one in nearly
every step, so stretches are stored instead of tokens; analysis derives every token's time from them and the
iterations table.

A note is a row of two kinds of figures, appended for an iteration in which something changed. Flows count what
happened since the last note (arrived, preempted ...). Levels hold until the next note (running, waiting ...).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import get_native_id
from time import monotonic_ns as now
from typing import Any, NamedTuple

from engine_probe.hook.block_counters import BlockCounters
from engine_probe.hook.patches import Patches, argument
from engine_probe.hook.rare_events import RareEvents
from engine_probe.hook.request_state import RequestState
from engine_probe.record.recorder import Recorder


class Call(NamedTuple):
    """A call of one of vLLM's methods that has returned."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    called_ns: int
    returned_ns: int
    result: Any


class RequestCounters:
    """Follows the requests of one scheduler from their arrival until their rows are written."""

    def __init__(
        self,
        scheduler: Any,
        recorder: Recorder,
        blocks: BlockCounters,
        patches: Patches,
        events: RareEvents,
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._scheduler = scheduler
        self._recorder = recorder
        self._blocks = blocks
        self._events, self._patches = events, patches
        self._on_failure = on_failure
        self.speculates = bool(scheduler.num_spec_tokens)
        self.states: dict[str, RequestState] = {}  # by request id
        self.prefilling: dict[str, None] = {}  # ids in order, as a set would lose it
        self.idle: set[str] = set()
        # iteration -> requests that get their first (True) or last (False) token in it
        self._awaited_tokens: dict[int, list[tuple[RequestState, bool]]] = {}
        # Until 0.30 deferred requests wait in a queue of their own; since 0.31 they are a subset of two queues.
        second: Any = getattr(scheduler, "skipped_waiting", None)
        self.deferred: Any = second if second is not None else scheduler.deferred_waiting
        self._queues = (scheduler.waiting, second if second is not None else scheduler.kv_holding_waiting)
        # Flows since the last note.
        self._arrived_ids: deque[str] = deque()  # a deque, because other threads may add requests
        self._num_preempted = self._num_left_running = self._num_left_waiting = 0
        # Levels of the last note.
        self._noted_iteration = -1
        self.num_deferred = self.scheduled_tokens = 0
        self._live_tokens = 0
        # The update that vLLM is in.
        self.updating: int | None = None  # its iteration; None between updates
        self._drafted: dict[int, list[int]] = {}  # iteration -> the length of each draft
        self._bursts_possible = self.speculates  # one of its outputs may hold no token, or several
        self.note_due = self.speculates  # it has more to note than the number of its outputs
        self._finished_in_update: list[RequestState] = []
        self.iteration = 0  # the number of the next schedule()
        self.updated, self.updated_ns = -1, 0  # the last iteration whose update returned, and when
        self._inexact_requests = self._turns = 0
        self._call_add = patches.replace(scheduler, "add_request", self._add_request)
        preempt = self._around(scheduler._preempt_request, self._note_preemption)
        patches.replace(scheduler, "_preempt_request", preempt)
        patches.replace(scheduler, "_free_request", self._around(scheduler._free_request, self._note_freed))
        if stop := getattr(scheduler, "_handle_stopped_request", None):  # a vLLM without it has no streaming sessions
            patches.replace(scheduler, "_handle_stopped_request", self._around(stop, self._note_turn))

    def begin(self) -> None:
        """Take over the requests that are already in the scheduler."""
        for request in self._scheduler.requests.values():
            self._adopt(request)

    # ---- events: once per request, or when it is preempted

    def _add_request(self, *args: Any, **kwargs: Any) -> Any:
        queued = now()
        result = self._call_add(*args, **kwargs)
        if not self._patches.active:
            return result
        after = now()
        try:
            request = argument(args, kwargs, 0, "request")
            request_id = request.request_id
            # A further chunk of a streaming session arrives under the id of the session.
            if request_id not in self.states and request_id in self._scheduler.requests:
                self._register(request, queued)
            self._events.probe_ns += now() - after
        except Exception as error:
            self._on_failure(error)
        return result

    def _register(self, request: Any, queued_ns: int | None) -> RequestState:
        """Return the state of a request, made by the thread that asks first."""
        new_state = RequestState(request, queued_ns)
        state = self.states.setdefault(request.request_id, new_state)
        if state is new_state:
            self._recorder.arrivals.append((request.request_id, queued_ns, request.num_prompt_tokens))
            self._arrived_ids.append(request.request_id)
            self._events.changed = True
        return state

    def _around(self, call: Callable[..., Any], note: Callable[..., None]) -> Callable[..., Any]:
        """Return a replacement of a method that takes a request; `note` gets its tokens and blocks from before."""

        def replacement(*args: Any, **kwargs: Any) -> Any:
            if not self._patches.active:
                return call(*args, **kwargs)
            began = now()
            try:
                request = argument(args, kwargs, 0, "request")
                before = (request.num_computed_tokens, self._blocks.held(request.request_id), self._blocks.used())
            except Exception as error:
                self._on_failure(error)
                return call(*args, **kwargs)
            called = now()
            result = call(*args, **kwargs)
            returned = now()
            try:
                note(request.request_id, before, Call(args, kwargs, called, returned, result))
                self._events.probe_ns += now() - returned + called - began
            except Exception as error:
                self._on_failure(error)
            return result

        return replacement

    def _note_preemption(self, request_id: str, before: tuple[int, int, int], call: Call) -> None:
        state, (lost, held, used) = self.states[request_id], before
        # Tokens of steps in flight are still delivered, unless vLLM is asked to drop them.
        drops_output = call.args[2] if len(call.args) > 2 else call.kwargs.get("drop_stale_output", False)
        self._stop_running(state, self.updated if drops_output else self.iteration - 1)
        self._close_preemption(state)
        state.preempt(self.iteration, call.called_ns, lost, held, used, self._blocks.used())
        self._num_preempted += 1
        self._events.changed = True
        self._live_tokens -= lost

    def _note_turn(self, request_id: str, before: tuple[int, int, int], call: Call) -> None:
        """Move a streaming session whose turn has ended back to waiting, unless it is freed as well."""
        state = self.states.get(request_id)
        if state is None or call.result or not state.running:
            return
        self._leave_running(state, before[0])
        state.running = False
        self._arrived_ids.append(state.request_id)
        self._turns += 1

    def _leave_running(self, state: RequestState, computed: int) -> None:
        self._events.changed = True
        if state.running:
            self._num_left_running += 1
            self._live_tokens -= computed
        else:
            self._num_left_waiting += 1
        # In an update its token still counts; an abort between updates loses the tokens in flight.
        self._stop_running(state, self.updated if self.updating is None else self.updating)
        self._close_preemption(state)

    def _note_freed(self, request_id: str, before: tuple[int, int, int], call: Call) -> None:
        if (state := self.states.pop(request_id, None)) is None:
            return
        self._leave_running(state, before[0])
        state.finish(before[1])
        if self.updating is None:
            self._append_row(state, call.returned_ns)
            return
        self._bursts_possible |= state.reason not in ("stop", "length")
        self._finished_in_update.append(state)
        self.note_due = True

    def _append_row(self, state: RequestState, when: int) -> None:
        if not state.tokens_add_up():
            self._inexact_requests += 1
            state.drop_token_times()
        self._recorder.requests.append(tuple(state.row(when).values()))

    # ---- after schedule(): notes, and only the requests that something happened to

    def note_changes(self, iteration: int, called: int, output: Any) -> None:
        """Append the note of an iteration in which a request arrived, left, got no tokens or computed its prompt."""
        tokens, drafts = output.num_scheduled_tokens, output.scheduled_spec_decode_tokens
        running = self._scheduler.running
        self._events.changed = False  # before anything is read, so that a request added meanwhile gets the next note
        new, resumed, prefilling, prefill_tokens, recomputed, cached = self._note_prefills(iteration, called, output)
        if self.idle or len(tokens) != len(running):
            self._note_idle(iteration, running, tokens)
        arrived = len([self._arrived_ids.popleft() for _ in range(len(self._arrived_ids))])
        speculative_tokens = sum(map(len, drafts.values())) if drafts else 0
        self._live_tokens = self._live_after(iteration - 1) + output.total_num_scheduled_tokens + cached
        if drafts:
            self._drafted[iteration] = [*map(len, drafts.values())]
        if self.speculates:
            # vLLM takes rejected drafts back request by request: only the sum over the batch is exact.
            self._live_tokens = sum(request.num_computed_tokens for request in running)
        self._noted_iteration, self.scheduled_tokens = iteration, output.total_num_scheduled_tokens
        self.num_deferred = len(self.deferred)
        flows = (  # in the order of recorder.FLOWS
            arrived, new, resumed, self._num_preempted, self._num_left_running, self._num_left_waiting,
            prefilling, prefill_tokens, speculative_tokens, recomputed, cached,
        )  # fmt: skip
        levels = (  # in the order of recorder.LEVELS
            len(running), sum(map(len, self._queues)), self.num_deferred, len(tokens), self.scheduled_tokens,
            self._blocks.cached_free, self._blocks.shared, self._live_tokens,
        )  # fmt: skip
        self._recorder.changes.append((iteration, *flows, *levels))
        self._recorder.core_thread = get_native_id()
        self._num_preempted = self._num_left_running = self._num_left_waiting = 0
        self._events.changed |= self.speculates or bool(self.prefilling) or bool(self.idle)

    def _live_after(self, iteration: int) -> int:
        """Return the live tokens after an iteration: all since the last note scheduled the same number of tokens."""
        return self._live_tokens + (iteration - self._noted_iteration) * self.scheduled_tokens

    def _note_prefills(self, iteration: int, called: int, output: Any) -> tuple[int, int, int, int, int, int]:
        """Update the requests that are admitted in this iteration or still compute their prompt.

        Return how many are new, are resumed and are scheduled, then their prefill, recomputed and cached tokens.
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
            # Another thread may be inside `add_request`, and not have registered the request yet.
            state = self.states.get(request_id) or self._register(self._scheduler.requests[request_id], None)
            # schedule() has already added this chunk to num_computed_tokens.
            start = state.request.num_computed_tokens - num_tokens
            num_tokens -= len(drafts.get(request_id, ()))
            scheduled += 1
            prefill += num_tokens
            if not state.running:
                cached += start
                # vLLM's second model runner lists resumed requests among the new ones.
                is_resumed = state.admit(iteration, called, start)
                resumed += is_resumed
                new += not is_resumed
            recomputed += state.recompute(start, start + num_tokens)
            if start + num_tokens >= state.lost_until:
                self._close_preemption(state)
            if state.request.is_prefill_chunk:
                self.prefilling[request_id] = None
            else:
                self.prefilling.pop(request_id, None)
                self._open_stretch(state, iteration)
        return new, resumed, scheduled, prefill, recomputed, cached

    def _note_idle(self, iteration: int, running: list[Any], tokens: dict[str, int]) -> None:
        """End the stretches of running requests that got no tokens, and open those of requests that get some again."""
        num_idle = len(running) - len(tokens)
        idle: set[str] = set()
        for request in reversed(running):  # the token budget cuts off the end of the list
            if len(idle) == num_idle:
                break
            if request.request_id not in tokens:
                idle.add(request.request_id)
        for request_id in idle - self.idle:
            self._close_stretch(self.states[request_id], iteration - 1)
        for request_id in self.idle - idle - self.prefilling.keys():
            self._open_stretch(self.states[request_id], iteration)
        self.idle = idle

    # ---- after update_from_output()

    def note_update(self, iteration: int, returned: int, outputs: dict[int, Any]) -> int:
        """Stamp first and last tokens, append rows of finished requests; return the number of tokens delivered."""
        for state, is_first in self._awaited_tokens.pop(iteration, ()):
            if is_first:
                state.first_token_ns = returned
            else:
                state.last_token_ns = returned
        if self._bursts_possible:
            delivered = self._note_deliveries(iteration, outputs)
        else:
            delivered = sum(len(batch.outputs) for batch in outputs.values())
        if self._finished_in_update:
            if iteration > self.updated:  # a step scheduled before the probe attached has no row
                self._recorder.finished.append((iteration, len(self._finished_in_update)))
            for state in self._finished_in_update:
                self._append_row(state, returned)
            self._finished_in_update.clear()
        self.note_due = bool(self._awaited_tokens) or self._bursts_possible
        return delivered

    def _note_deliveries(self, iteration: int, outputs: dict[int, Any]) -> int:
        """Return the tokens delivered, and note the requests that got none or several."""
        self._bursts_possible = self.speculates
        finished = {state.request_id: state for state in self._finished_in_update}
        delivered, accepted = 0, []
        for batch in outputs.values():
            for output in batch.outputs:
                count = len(output.new_token_ids)
                delivered += count
                if count > 1:
                    accepted.append(count - 1)  # the last token is the model's own
                state = self.states.get(output.request_id) or finished.get(output.request_id)
                if state is not None and count != 1:
                    state.bursts.append((iteration, count))
        if drafted := self._drafted.pop(iteration, None):
            self._recorder.drafts.append((iteration, drafted, accepted))
        return delivered

    def _open_stretch(self, state: RequestState, iteration: int) -> None:
        if state.first_token_iteration is None and not state.adopted:
            state.first_token_iteration = iteration
            self._await_token(iteration, state, True)
        if state.stretch_start is None:
            state.stretch_start = iteration

    def _close_stretch(self, state: RequestState, last: int) -> None:
        if not state.close_stretch(last):
            return
        if last == self.updated:
            state.last_token_ns = self.updated_ns
        else:
            self._await_token(last, state, False)

    def _await_token(self, iteration: int, state: RequestState, is_first: bool) -> None:
        self._awaited_tokens.setdefault(iteration, []).append((state, is_first))
        self.note_due = True

    def _stop_running(self, state: RequestState, last: int) -> None:
        self.prefilling.pop(state.request_id, None)
        self.idle.discard(state.request_id)
        self._close_stretch(state, last)

    def _close_preemption(self, state: RequestState) -> None:
        if state.open_preemption is not None:
            self._recorder.preemptions.append(tuple(state.preemption_row().values()))

    def _adopt(self, request: Any) -> None:
        """Follow a request that arrived before the probe attached; its earlier times stay unknown."""
        state = self.states[request.request_id] = RequestState(request, None)
        self._recorder.arrivals.append((request.request_id, None, request.num_prompt_tokens))
        if request.status.name != "RUNNING":
            return
        state.adopt()
        self._live_tokens += request.num_computed_tokens
        if request.is_prefill_chunk:
            self.prefilling[request.request_id] = None
            self._events.changed = True
        else:
            self._open_stretch(state, 0)

    # ---- at close

    def close(self) -> dict[str, int]:
        """Append the open preemptions; return the counts that `run.json` holds."""
        for state in self.states.values():
            self._close_preemption(state)
        return {
            "requests_in_flight_at_close": len(self.states),
            "requests_with_unknown_token_times": self._inexact_requests,
            "turns_of_streaming_sessions": self._turns,
        }

    def audit(self) -> list[str]:
        """Compare the live tokens with a walk over the running requests; return a sentence if they differ."""
        if self.speculates:
            return []  # they are counted anew in every step
        held = sum(request.num_computed_tokens for request in self._scheduler.running)
        counted = self._live_after(self.iteration - 1)
        return [] if held == counted else [f"kv_tokens_live ended at {counted}, the running requests hold {held}"]
