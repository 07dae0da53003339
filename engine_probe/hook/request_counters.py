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

from collections import deque
from threading import get_native_id
from typing import Any

from engine_probe.hook.admission import Admission
from engine_probe.hook.block_counters import BlockCounters
from engine_probe.hook.patches import argument
from engine_probe.hook.rare_events import UPDATE_RETURNED, Call, RareEvents
from engine_probe.hook.request_state import RequestState
from engine_probe.record.recorder import Recorder
from engine_probe.record.schema import PreemptionCause


class RequestCounters:
    """Follows the requests of one scheduler from their arrival until their rows are written."""

    def __init__(
        self, scheduler: Any, recorder: Recorder, blocks: BlockCounters, admission: Admission, events: RareEvents
    ) -> None:
        self._scheduler, self._recorder = scheduler, recorder
        self._blocks, self._admission, self._events = blocks, admission, events
        self.speculates = bool(scheduler.num_spec_tokens)
        self.states: dict[str, RequestState] = {}  # by request id
        self.prefilling: dict[str, None] = {}  # ids in order, as a set would lose it
        self.idle: set[str] = set()
        # iteration -> requests that get their first (True) or last (False) token in it
        self._awaited_tokens: dict[int, list[tuple[RequestState, bool]]] = {}
        self._arrived_ids: deque[str] = deque()  # a deque, because other threads may add requests
        self._num_preempted = self._num_left_running = self._num_left_waiting = 0  # since the last note:
        self._noted_iteration = -1
        self._noted, self._live_tokens = (0, 0, 0), 0
        self._drafted: dict[int, list[int]] = {}  # iteration -> the length of each draft
        events.note_due = self._bursts_possible = self.speculates  # an output may hold no token, or several
        self._finished_in_update: list[RequestState] = []
        self._inexact_requests = self._turns = self._failed_loads = 0
        self._resetting = False  # the prefix cache was reset since the last note, which may have preempted all requests
        events.hook(scheduler, "add_request", self._note_arrival)
        events.hook(scheduler, "reset_prefix_cache", read=self._note_reset)
        events.hook(scheduler, "_preempt_request", self._note_preemption, self._held)
        events.hook(scheduler, "_free_request", self._note_freed, self._held)
        events.hook(scheduler, "_update_requests_with_invalid_blocks", self._note_failed_loads, self._computed)
        if hasattr(scheduler, "_handle_stopped_request"):  # a vLLM without it has no streaming sessions
            events.hook(scheduler, "_handle_stopped_request", self._note_turn, self._held)

    def begin(self) -> None:
        """Follow the requests that arrived before the probe attached; their earlier times stay unknown."""
        for request in self._scheduler.requests.values():
            state = self.states[request.request_id] = RequestState(request, None)
            self._recorder.arrivals.append((request.request_id, None, request.num_prompt_tokens))
            if request.status.name != "RUNNING":
                continue
            state.adopted = state.running = True
            state.adopted_tokens = request.num_output_tokens
            self._live_tokens += request.num_computed_tokens
            if request.is_prefill_chunk:
                self.prefilling[request.request_id] = None
                self._events.changed = True
            else:
                self._open_stretch(state, 0)

    # ---- events: once per request, or when it is preempted

    def _note_arrival(self, call: Call) -> None:
        request = argument(call.args, call.kwargs, 0, "request")
        # A further chunk of a streaming session arrives under the id of the session.
        if request.request_id not in self.states and request.request_id in self._scheduler.requests:
            self._register(request, call.called_ns)

    def _register(self, request: Any, queued_ns: int | None) -> RequestState:
        """Return the state of a request, made by the thread that asks first."""
        new_state = RequestState(request, queued_ns)
        state = self.states.setdefault(request.request_id, new_state)
        if state is new_state:
            self._recorder.arrivals.append((request.request_id, queued_ns, request.num_prompt_tokens))
            self._arrived_ids.append(request.request_id)
            self._events.changed = True
        return state

    def _held(self, *args: Any, **kwargs: Any) -> tuple[str, int, int, int]:
        """Return a request's id, computed tokens and blocks, and all blocks in use, before vLLM changes them."""
        request = argument(args, kwargs, 0, "request")
        name = request.request_id
        return name, request.num_computed_tokens, self._blocks.held(name), self._blocks.used()

    def _note_preemption(self, call: Call) -> None:
        request_id, lost, held, used = call.before
        state = self.states[request_id]
        # Tokens of steps in flight are still delivered, unless vLLM is asked to drop them.
        drops_output = call.args[2] if len(call.args) > 2 else call.kwargs.get("drop_stale_output", False)
        self._stop_running(state, self._events.updated if drops_output else self._events.iteration - 1)
        self._close_preemption(state)
        state.preempt(self._events.iteration, call.called_ns, lost, held, used, self._blocks.used(), self._cause())
        self._num_preempted += 1
        self._events.changed = True
        self._live_tokens -= lost

    def _computed(self, *_: Any, **__: Any) -> dict[str, int]:
        return {request.request_id: request.num_computed_tokens for request in self._scheduler.running}

    def _note_failed_loads(self, call: Call) -> None:
        """Let running requests whose tokens a KV connector failed to load compute them again, and drop this token."""
        updating = self._events.updated + 1 if self._events.updating is None else self._events.updating
        for name in call.result[0] & call.before.keys():
            state = self.states[name]
            self._failed_loads += 1
            state.lost_until = max(state.lost_until, call.before[name])
            self._close_stretch(state, updating - 1)
            if state.first_token_iteration == updating:
                state.first_token_iteration = None
                self._awaited_tokens[updating].remove((state, True))
            self.prefilling[name] = None
            self._events.changed = True

    def _note_reset(self, reset_running_requests: bool = False, *_: Any, **__: Any) -> None:
        self._resetting = reset_running_requests

    def _cause(self) -> PreemptionCause:
        """Return why vLLM preempts a request now: in schedule() for want of blocks, or all of them in a reset."""
        if self._resetting:
            return PreemptionCause.RESET_IN_PAUSE if self._scheduler._pause_state else PreemptionCause.RESET
        self._admission.preempted = True
        in_order = self._scheduler.policy.value == "fcfs"
        return PreemptionCause.KV_BLOCKS if in_order else PreemptionCause.KV_BLOCKS_BY_PRIORITY

    def _note_turn(self, call: Call) -> None:
        """Move a streaming session whose turn has ended back to waiting, unless it is freed as well."""
        state = self.states.get(call.before[0])
        if state is None or call.result or not state.running:
            return
        self._leave_running(state, call.before[1])
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
        self._stop_running(state, self._events.updated if self._events.updating is None else self._events.updating)
        self._close_preemption(state)

    def _note_freed(self, call: Call) -> None:
        request_id, computed, held, _ = call.before
        self._admission.local_hits.pop(request_id, None)
        if (state := self.states.pop(request_id, None)) is None:
            return
        self._leave_running(state, computed)
        state.finish(held)
        if self._events.updating is None:
            self._append_row(state, call.returned_ns)
            return
        self._bursts_possible |= state.reason not in ("stop", "length")
        self._finished_in_update.append(state)
        self._events.note_due = True

    def _append_row(self, state: RequestState, when: int) -> None:
        if not state.tokens_add_up():
            self._inexact_requests += 1
            state.drop_token_times()
        self._recorder.requests.append(tuple(state.row(when).values()))

    # ---- after schedule(): notes, and only the requests that something happened to

    def note_changes(self, iteration: int, called: int, output: Any) -> None:
        """Append a note if a request arrived, left, got no tokens, computed its prompt or waits for another reason."""
        events, admission = self._events, self._admission
        reason, num_deferred = admission.reason(output), len(admission.deferred)
        noted = (reason, num_deferred, output.total_num_scheduled_tokens)
        if noted == self._noted and not (events.changed or output.scheduled_new_reqs):
            return
        tokens, drafts = output.num_scheduled_tokens, output.scheduled_spec_decode_tokens
        running = self._scheduler.running
        # Before anything is read, so that a request added meanwhile gets the next note.
        self._resetting = self._events.changed = False
        new, resumed, *prefills = self._note_prefills(iteration, called, output)
        if self.idle or len(tokens) != len(running):
            self._note_idle(iteration, running, tokens)
        arrived = len([self._arrived_ids.popleft() for _ in range(len(self._arrived_ids))])
        speculative_tokens = sum(map(len, drafts.values())) if drafts else 0
        self._live_tokens = self._live_after(iteration - 1) + output.total_num_scheduled_tokens + prefills[3]
        if drafts:
            self._drafted[iteration] = [*map(len, drafts.values())]
        if self.speculates or self._failed_loads:
            # vLLM takes tokens back request by request: only the sum over the batch is exact.
            self._live_tokens = sum(request.num_computed_tokens for request in running)
        self._noted_iteration, self._events.scheduled_tokens = iteration, output.total_num_scheduled_tokens
        num_queued = sum(map(len, admission.queues))
        events.waiting, self._noted = num_queued > 0, noted
        flows = (  # in the order of recorder.FLOWS
            arrived, new, resumed, self._num_preempted, self._num_left_running, self._num_left_waiting,
            speculative_tokens, *prefills,
        )  # fmt: skip
        levels = (  # in the order of recorder.LEVELS
            len(running), num_queued, num_deferred, len(tokens), self._events.scheduled_tokens,
            self._blocks.cached_free, self._blocks.shared, self._live_tokens, reason,
        )  # fmt: skip
        self._recorder.changes.append((iteration, *flows, *levels))
        self._recorder.core_thread = get_native_id()
        self._num_preempted = self._num_left_running = self._num_left_waiting = 0
        self._events.changed |= self.speculates or bool(self.prefilling) or bool(self.idle)

    def _live_after(self, iteration: int) -> int:
        """Return the live tokens after an iteration: all since the last note scheduled the same number of tokens."""
        return self._live_tokens + (iteration - self._noted_iteration) * self._events.scheduled_tokens

    def _note_prefills(self, iteration: int, called: int, output: Any) -> tuple[int, ...]:
        """Update the requests that are admitted in this iteration or still compute their prompt.

        Return how many are new, are resumed and are scheduled, then their prefill, recomputed and cached tokens, and
        how many of the cached came from a KV connector.
        """
        tokens, drafts = output.num_scheduled_tokens, output.scheduled_spec_decode_tokens
        new = resumed = scheduled = prefill = recomputed = cached = connected = 0
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
                connected += (external := start - min(self._admission.local_hits.pop(request_id, start), start))
                # vLLM's second model runner lists resumed requests among the new ones.
                is_resumed = state.admit(iteration, called, start, external)
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
        return new, resumed, scheduled, prefill, recomputed, cached, connected

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

    def note_update(self, iteration: int, returned: int, outputs: dict[int, Any], delivered: int) -> int:
        """Stamp first and last tokens, append rows of finished requests; return the number of tokens delivered."""
        for state, is_first in self._awaited_tokens.pop(iteration, ()):
            if is_first:
                state.first_token_ns = returned
            else:
                state.last_token_ns = returned
        if self._bursts_possible:
            delivered = self._note_deliveries(iteration, outputs)
        if self._finished_in_update:
            if iteration > self._events.updated:  # a step scheduled before the probe attached has no row
                self._recorder.finished.append((iteration, len(self._finished_in_update)))
            for state in self._finished_in_update:
                self._append_row(state, returned)
            self._finished_in_update.clear()
        self._events.note_due = bool(self._awaited_tokens) or self._bursts_possible
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
        if last == self._events.updated:
            state.last_token_ns = self._events.last_row()[UPDATE_RETURNED]
        else:
            self._await_token(last, state, False)

    def _await_token(self, iteration: int, state: RequestState, is_first: bool) -> None:
        self._awaited_tokens.setdefault(iteration, []).append((state, is_first))
        self._events.note_due = True

    def _stop_running(self, state: RequestState, last: int) -> None:
        self.prefilling.pop(state.request_id, None)
        self.idle.discard(state.request_id)
        self._close_stretch(state, last)

    def _close_preemption(self, state: RequestState) -> None:
        if state.open_preemption is not None:
            self._recorder.preemptions.append(tuple(state.open_preemption.values()))
            state.open_preemption = None

    # ---- at close

    def close(self) -> dict[str, int]:
        """Append the open preemptions; return the counts that `run.json` holds."""
        for state in self.states.values():
            self._close_preemption(state)
        return {
            "requests_in_flight_at_close": len(self.states),
            "requests_with_unknown_token_times": self._inexact_requests,
            "turns_of_streaming_sessions": self._turns,
            "failed_kv_loads": self._failed_loads,
        }

    def audit(self) -> list[str]:
        """Compare the live tokens with a walk over the running requests; return a sentence if they differ."""
        if self.speculates:
            return []  # they are counted anew in every step
        held = sum(request.num_computed_tokens for request in self._scheduler.running)
        counted = self._live_after(self._events.iteration - 1)
        return [] if held == counted else [f"kv_tokens_live ended at {counted}, the running requests hold {held}"]
