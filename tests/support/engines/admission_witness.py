"""Why schedule() stopped admitting requests, read from the lines of vLLM's own source that it executed.

The waiting loop of `Scheduler.schedule` is found in its syntax tree, and every `break` in it gets the reason for which
it stands. A trace function notes the line that was executed last in the loop. So this witness shares no rule with the
probe: it knows what vLLM did, and not what the scheduler looked like afterwards.
"""

import ast
import inspect
import sys
import textwrap
from types import CodeType, FrameType
from typing import Any

# The condition before a `break`, and the reason; the first that is found in it.
BREAKS = {
    "new_blocks is None": "kv_blocks",
    "defer_prefills": "prefill_interval",
    "max_num_active_reqs": "places",
    "max_num_running_reqs": "places",
    "draft_slots": "input",
    "enable_chunked_prefill": "token_budget",
    "padded_num_tokens": "token_budget",
    "num_new_tokens == 0": "no_tokens",
    "request_token_budget": "token_budget",  # until 0.30
}


class AdmissionWitness:
    """Traces one scheduler's calls of schedule() that it is told to run."""

    def __init__(self, scheduler: Any) -> None:
        self.scheduler = scheduler
        function = next(vars(owner)["schedule"] for owner in type(scheduler).__mro__ if "schedule" in vars(owner))
        manager = type(scheduler.kv_cache_manager).allocate_slots
        self.codes: tuple[CodeType, CodeType] = (function.__code__, manager.__code__)
        self.loop, self.breaks = waiting_loop(function)
        self.last_line = 0
        self.short = ""

    def run(self, call: Any, *args: Any, **kwargs: Any) -> tuple[Any, str]:
        """Return the output of schedule() and the name of the reason."""
        self.last_line, self.short = 0, ""
        before = sys.gettrace()
        sys.settrace(self.trace)
        try:
            output = call(*args, **kwargs)
        finally:
            sys.settrace(before)
        return output, self.reason(output)

    def trace(self, frame: FrameType, event: str, value: Any) -> Any:
        return self.trace_line if frame.f_code in self.codes else None

    def trace_line(self, frame: FrameType, event: str, value: Any) -> Any:
        if frame.f_code is self.codes[0]:
            if frame.f_lineno in self.loop:
                self.last_line = frame.f_lineno
        elif event == "return" and value is None:
            seen = frame.f_locals
            needed, kept = seen["num_blocks_to_allocate"], seen["watermark_blocks"]
            free = self.scheduler.kv_cache_manager.block_pool.get_num_free_blocks() - seen["reserved_blocks"]
            self.short = "watermark" if kept and needed <= free else "kv_blocks"
        return self.trace_line

    def reason(self, output: Any) -> str:
        scheduler = self.scheduler
        waiting, blocked = self.waiting_and_blocked()
        if not waiting and not blocked:
            return "nobody"
        if not self.last_line:  # it never came to the loop
            return "pause" if scheduler._pause_state else "preemption"
        if not waiting:
            return blocked_reason(scheduler, blocked[0])
        where = self.breaks.get(self.last_line, "end of the loop's condition")
        if where == "kv_blocks":
            return self.short
        if where == "places":
            most = getattr(scheduler, "max_num_active_reqs", scheduler.max_num_running_reqs)
            return "max_num_seqs" if most == scheduler.max_num_running_reqs else "max_num_active_seqs"
        if where == "end of the loop's condition":
            return "token_budget"
        if where == "no_tokens":  # left for it by the encoder, or by the alignment of its blocks
            return "encoder" if waiting[0].has_encoder_inputs else "token_budget"
        if where == "input":  # or no queue that it may admit from
            if scheduler._pause_state:
                return "pause"
            return "draft_slots" if scheduler.vllm_config.speculative_config else "token_budget"
        return where

    def waiting_and_blocked(self) -> tuple[list[Any], list[Any]]:
        scheduler = self.scheduler
        if hasattr(scheduler, "skipped_waiting"):  # up to 0.30
            return list(scheduler.waiting), list(scheduler.skipped_waiting)
        everyone = [*scheduler.kv_holding_waiting, *scheduler.waiting]
        blocked = [request for request in everyone if request in scheduler.deferred_waiting]
        return [request for request in everyone if request not in blocked], blocked


def blocked_reason(scheduler: Any, request: Any) -> str:
    names = {
        "WAITING_FOR_REMOTE_KVS": "remote_kv",
        "WAITING_FOR_STRUCTURED_OUTPUT_GRAMMAR": "grammar",
        "WAITING_FOR_STREAMING_REQ": "streaming_input",
    }
    return names.get(request.status.name, "lora_slots" if request.lora_request else "other_deferral")


def waiting_loop(function: Any) -> tuple[range, dict[int, str]]:
    """Return the lines of the loop over waiting requests, and the reason that each `break` in it stands for."""
    lines, first = inspect.getsourcelines(function)
    tree = ast.parse(textwrap.dedent("".join(lines)))
    ast.increment_lineno(tree, first - 1)
    (loop,) = (node for node in ast.walk(tree) if isinstance(node, ast.While) and "peek_request" in ast.unparse(node))
    breaks: dict[int, str] = {}
    for node in ast.walk(loop):
        for branch in (getattr(node, "body", ()), getattr(node, "orelse", ())):
            if isinstance(node, ast.If) and branch and isinstance(branch[-1], ast.Break):
                condition = ast.unparse(node.test)
                breaks[branch[-1].lineno] = next(reason for text, reason in BREAKS.items() if text in condition)
    assert loop.end_lineno is not None
    return range(loop.lineno, loop.end_lineno + 1), breaks
