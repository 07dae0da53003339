"""An independent witness: walks over vLLM's own objects in every step, as slowly as it likes.

It wraps the scheduler *below* the probe and counts everything from scratch: the block pool block by block, the
running list request by request. Whatever the probe's counters say must equal it in every row.
"""

from __future__ import annotations

import inspect
import re
import time
from collections import Counter
from typing import Any

from engine_probe.record.schema import WaitingReason
from tests.support.engines.admission_witness import AdmissionWitness


class Witness:
    """Attach before the probe; `differences(run)` afterwards."""

    def __init__(self, core: Any) -> None:
        self.scheduler = core.scheduler
        self.rows: list[dict[str, int]] = []
        self.windows: list[dict[str, float]] = []  # when schedule() and the update ran, for vLLM's own times
        self.statistics: list[Any] = []  # vLLM's SchedulerStats per row, None where it gave none
        self.drafts: list[dict[str, tuple[int, int]]] = []  # per row, by request: tokens of its draft, and given of it
        self.finish_reasons: Counter[str] = Counter()
        self._waiting_for_update: list[tuple[Any, dict[str, int], dict[str, float], dict[str, int]]] = []
        self._unfinished_prompts: set[str] = set()
        self._admission = AdmissionWitness(self.scheduler)
        self.causes: list[tuple[str, str]] = []  # (request id, cause) of each preemption
        self._preempt = self.scheduler._preempt_request
        self.scheduler._preempt_request = self.preempt
        self._schedule, self._update = self.scheduler.schedule, self.scheduler.update_from_output
        self.scheduler.schedule, self.scheduler.update_from_output = self.schedule, self.update

    def leave(self) -> None:
        del self.scheduler.schedule, self.scheduler.update_from_output, self.scheduler._preempt_request

    def schedule(self, *args: Any, **kwargs: Any) -> Any:
        begin = time.monotonic()
        output, reason = self._admission.run(self._schedule, *args, **kwargs)
        window = {"schedule_begin": begin, "schedule_end": time.monotonic()}
        drafts = output.scheduled_spec_decode_tokens
        speculative = sum(len(tokens) for tokens in drafts.values())
        decode = len(output.num_scheduled_tokens) - len(self.computing_prompts(output))
        row = {
            **self.levels(),
            "waiting_reason": WaitingReason[reason.upper()],
            "scheduled_requests": len(output.num_scheduled_tokens),
            "scheduled_tokens": sum(output.num_scheduled_tokens.values()),
            "speculative_tokens": speculative,
            "decode_tokens": decode,
            "prefill_tokens": sum(output.num_scheduled_tokens.values()) - speculative - decode,
            "kv_blocks_scheduled": self.used_blocks(),
            **self.pool(),
            "kv_tokens_live": sum(request.num_computed_tokens for request in self.scheduler.running),
        }
        lengths = {request_id: len(tokens) for request_id, tokens in drafts.items()}
        self._waiting_for_update.append((output, row, window, lengths))
        return output

    def update(self, scheduler_output: Any, *args: Any, **kwargs: Any) -> Any:
        ((position, row, window, lengths),) = [
            (index, *others)
            for index, (output, *others) in enumerate(self._waiting_for_update)
            if output is scheduler_output
        ]
        del self._waiting_for_update[position]
        window["update_begin"] = time.monotonic()
        outputs = self._update(scheduler_output, *args, **kwargs)
        window["update_end"] = time.monotonic()
        answers = [answer for batch in outputs.values() for answer in batch.outputs]
        row["output_tokens"] = sum(len(answer.new_token_ids) for answer in answers)
        row["finished_requests"] = sum(1 for answer in answers if answer.finish_reason is not None)
        row["kv_blocks_updated"] = self.used_blocks()
        self.finish_reasons.update(str(answer.finish_reason) for answer in answers if answer.finish_reason is not None)
        given = {answer.request_id: len(answer.new_token_ids) - 1 for answer in answers}
        self.drafts.append({name: (length, max(0, given.get(name, 0))) for name, length in lengths.items()})
        self.rows.append(row)
        self.windows.append(window)
        self.statistics.append(next((batch.scheduler_stats for batch in outputs.values()), None))
        return outputs

    def preempt(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Note who asked for it, by the methods that are being called."""
        callers, frame = set(), inspect.currentframe()
        while frame := frame and frame.f_back:
            callers.add(frame.f_code.co_name)
        if "reset_prefix_cache" in callers:
            paused = self.scheduler.pause_state.name != "UNPAUSED"
            cause = "reset of the prefix cache in a pause" if paused else "reset of the prefix cache"
        else:
            assert "schedule" in callers
            cause = "KV blocks" if self.scheduler.policy.name == "FCFS" else "KV blocks, by priority"
        self.causes.append((request.request_id, cause))
        return self._preempt(request, *args, **kwargs)

    # ---- from scratch, each time ------------------------------------------------------------------------

    def computing_prompts(self, output: Any) -> set[str]:
        """Who of the scheduled computes (a chunk of) a prompt, or again what a preemption lost."""
        scheduled = set(output.num_scheduled_tokens)
        now = {data.req_id for data in output.scheduled_new_reqs} | set(output.scheduled_cached_reqs.resumed_req_ids)
        now |= self._unfinished_prompts & scheduled
        for request_id in scheduled:
            request = self.scheduler.requests[request_id]
            if request.num_computed_tokens < request.num_tokens:
                self._unfinished_prompts.add(request_id)
            else:
                self._unfinished_prompts.discard(request_id)
        return now

    def levels(self) -> dict[str, int]:
        scheduler = self.scheduler
        if hasattr(scheduler, "skipped_waiting"):  # up to 0.30
            waiting, deferred = len(list(scheduler.waiting)), len(list(scheduler.skipped_waiting))
        else:
            everyone = [*scheduler.waiting, *scheduler.kv_holding_waiting]
            deferred = sum(1 for request in everyone if request in scheduler.deferred_waiting)
            waiting = len(everyone) - deferred
        return {
            "running_requests": sum(1 for _ in scheduler.running),
            "waiting_requests": waiting,
            "deferred_requests": deferred,
        }

    def blocks(self) -> list[Any]:
        return [block for block in self.scheduler.kv_cache_manager.block_pool.blocks if not block.is_null]

    def used_blocks(self) -> int:
        return sum(1 for block in self.blocks() if block.ref_cnt)

    def pool(self) -> dict[str, int]:
        return {
            "kv_blocks_cached_free": sum(
                1 for block in self.blocks() if not block.ref_cnt and block.block_hash is not None
            ),
            "kv_blocks_shared": sum(block.ref_cnt - 1 for block in self.blocks() if block.ref_cnt > 1),
        }

    # ---- the comparison ---------------------------------------------------------------------------------

    def differences(self, run: Any) -> list[str]:
        """Every cell in which the recording and this witness disagree, and every law a row breaks."""
        recorded = run.iterations.to_pylist()
        found = [] if len(recorded) == len(self.rows) else [f"{len(recorded)} rows recorded, {len(self.rows)} seen"]
        for mine, row in zip(self.rows, recorded, strict=False):
            found += [
                f"iteration {row['iteration']}: {name} is {row[name]}, the witness counted {value}"
                for name, value in mine.items()
                if row[name] != value
            ]
        rows = sorted(run.preemptions.to_pylist(), key=lambda row: row["preempted_ns"])
        if (causes := [(row["request_id"], row["cause"]) for row in rows]) != self.causes:
            found.append(f"preemptions are recorded as {causes}, the witness saw {self.causes}")
        return [*found, *broken_laws(run)]


def broken_laws(run: Any) -> list[str]:
    """Conservation, row by row: levels follow from the flows, parts add up."""
    found = []
    running = waiting = 0
    for row in run.iterations.to_pylist():
        came = row["new_requests"] + row["resumed_requests"]
        running += came - row["preempted_requests"] - row["left_running_requests"]
        waiting += row["arrived_requests"] + row["preempted_requests"] - came - row["left_waiting_requests"]
        checks = {
            "running": row["running_requests"] == running,
            "waiting": row["waiting_requests"] + row["deferred_requests"] == waiting,
            "tokens": row["scheduled_tokens"]
            == row["prefill_tokens"] + row["decode_tokens"] + row["speculative_tokens"],
            "blocks": 0 <= row["kv_blocks_scheduled"] <= run.facts["kv"]["blocks"],
            "cached": row["kv_blocks_cached_free"] <= run.facts["kv"]["blocks"] - row["kv_blocks_scheduled"],
            "times": min(row["gap_ns"], row["schedule_ns"], row["update_ns"], row["probe_ns"]) >= 0,
        }
        found += [f"iteration {row['iteration']}: {law} does not follow" for law, holds in checks.items() if not holds]
    return found


def differences_of_requests(run: Any, outputs: list[Any], witness: Witness) -> list[str]:
    """The requests table against what the engine returned and, where it is on, vLLM's `RequestOutput.metrics`."""
    rows = {row["request_id"]: row for row in run.requests.to_pylist()}
    iterations = run.iterations.to_pylist()
    found = []
    for output in outputs:
        # vLLM's internal id is the caller's with a suffix, and the number of the answer before it where n > 1.
        mine = re.compile(rf"(\d+_)?{re.escape(output.request_id)}-[0-9a-f]+")
        matching = [row for name, row in rows.items() if mine.fullmatch(name)]
        told = sum(len(answer.token_ids) for answer in output.outputs)
        if sum(row["output_tokens"] for row in matching) != told:
            found.append(f"request {output.request_id}: {told} tokens returned, {matching} recorded")
        if output.metrics is None or len(matching) != 1:
            continue
        (row,), metrics = matching, output.metrics
        window = witness.windows[row["first_token_iteration"]]
        last = witness.windows[row["last_token_iteration"]]
        first_scheduled = next(
            index for index, step in enumerate(iterations) if step["start_ns"] == row["first_scheduled_ns"]
        )
        checks = {
            "queued": abs(row["queued_ns"] / 1e9 - metrics.queued_ts) < 0.005,
            "scheduled": witness.windows[first_scheduled]["schedule_begin"]
            <= metrics.scheduled_ts
            <= witness.windows[first_scheduled]["schedule_end"],
            "first token": window["update_begin"] <= metrics.first_token_ts <= window["update_end"],
            "last token": last["update_begin"] <= metrics.last_token_ts <= last["update_end"],
            "tokens": row["output_tokens"] == metrics.num_generation_tokens,
            "arrival": abs(row["arrival_ns"] - _monotonic_ns(run, metrics.arrival_time)) < 5_000,
        }
        if hasattr(metrics, "num_preemptions"):
            checks["preemptions"] = row["preemptions"] == metrics.num_preemptions
        found += [
            f"request {output.request_id}: {what} differs from vLLM's" for what, same in checks.items() if not same
        ]
    return found


def differences_of_drafts(run: Any, witness: Witness) -> list[str]:
    """The drafts and what was given of them, request by request and, where they are on, in vLLM's own statistics."""
    recorded = {row["iteration"]: row for row in run.drafts.to_pylist()}
    seen = {iteration for iteration, each in enumerate(witness.drafts) if each}
    found = (
        [] if recorded.keys() == seen else [f"drafts in {sorted(seen ^ recorded.keys())} are recorded or seen alone"]
    )
    for iteration, row in recorded.items():
        pairs = witness.drafts[iteration].values()
        for name, place in (("drafted", 0), ("accepted", 1)):
            counted = sorted(pair[place] for pair in pairs if pair[place])
            if sorted(row[name]) != counted:
                found.append(f"iteration {iteration}: {name} is {row[name]}, the witness counted {counted}")
        stats = getattr(witness.statistics[iteration], "spec_decoding_stats", None)
        if stats is None:
            continue
        if (len(row["drafted"]), sum(row["drafted"])) != (stats.num_drafts, stats.num_draft_tokens):
            found.append(f"iteration {iteration}: {row}, vLLM counted {stats}")
        beyond_the_end = stats.num_accepted_tokens - sum(row["accepted"])
        if beyond_the_end < 0 or (beyond_the_end and not witness.rows[iteration]["finished_requests"]):
            found.append(f"iteration {iteration}: {row}, vLLM counted {stats.num_accepted_tokens}")
    return found


def _monotonic_ns(run: Any, wall_seconds: float) -> float:
    clock = run.facts["clock"]
    return wall_seconds * 1e9 - clock["wall_ns"] + clock["monotonic_ns"]


def differences_of_statistics(run: Any, witness: Witness) -> list[str]:
    """vLLM's own `SchedulerStats` and iteration details, where they are on, against the rows."""
    found = []
    blocks = run.facts["kv"]["blocks"]
    told = 0
    for row, stats in zip(run.iterations.to_pylist(), witness.statistics, strict=True):
        if stats is None:
            continue
        told += 1
        checks = {
            "running": stats.num_running_reqs == row["running_requests"] - row["finished_requests"],
            "waiting": stats.num_waiting_reqs == row["waiting_requests"],
            "KV usage": round(stats.kv_cache_usage * blocks) == row["kv_blocks_updated"],
        }
        if details := getattr(stats, "iteration_details", None):
            checks["iteration details"] = (
                details.num_ctx_tokens + details.num_generation_tokens == row["scheduled_tokens"]
                and details.num_ctx_requests + details.num_generation_requests == row["scheduled_requests"]
            )
        found += [
            f"iteration {row['iteration']}: {what} differs from vLLM's" for what, same in checks.items() if not same
        ]
    return found if told else ["vLLM gave no statistics to compare with"]
