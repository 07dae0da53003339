"""What kept requests waiting in a step: every constraint of vLLM's scheduler that refused the next one.

A request that waits after schedule() returned was refused by something, and several constraints can refuse it at once:
the batch is full (`max_num_seqs`), as many requests are active as may be (`max_num_active_seqs`), the token budget of
the step is spent (`max_num_batched_tokens`), or too few KV blocks are free for it. Since schema version 5 a recording
says what refused it. Whatever else would have refused it as well is derived, as everything is of an older recording:
what the next request needs is known afterwards, because it is the one that was admitted next.
"""

from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import numpy as np
import pyarrow as pa

from engine_probe.analysis.statistics.arrays import Flags, Integers
from engine_probe.record.schema import WaitingReason as Reason


@dataclass(frozen=True, eq=False)
class Waiting:
    """Steps in which each constraint refused a request, in the order of `LIMITS`; a step can be in several."""

    kv_blocks: Flags
    max_num_seqs: Flags
    max_num_active_seqs: Flags
    token_budget: Flags
    watermark: Flags
    draft_slots: Flags
    prefill_interval: Flags
    pause: Flags
    encoder: Flags
    deferral: Flags  # a request was blocked by something outside the scheduler's limits: a grammar, remote KV, LoRA
    unknown: Flags  # a request waited, and nothing that is recorded refused it


@dataclass(frozen=True, eq=False)
class Needs:
    """What the next request to be admitted needs, seen from each step; the prefix cache leaves two bounds."""

    tokens: Integers
    least_blocks: Integers
    most_blocks: Integers


ONLY_RECORDED = ("watermark", "draft_slots", "prefill_interval", "pause", "encoder")
# Reasons for which vLLM stops before it asks whether the next request fits into the pool.
BEFORE_BLOCKS = (Reason.TOKEN_BUDGET, Reason.MAX_NUM_SEQS, Reason.MAX_NUM_ACTIVE_SEQS, Reason.DRAFT_SLOTS)


def waiting(facts: dict[str, Any], iterations: pa.Table, requests: pa.Table, preemptions: pa.Table) -> Waiting:
    """Return what refused requests in each step: as recorded, or as derived where the recording does not say it."""
    if iterations["waiting_reason"].null_count:
        preempted = iterations["preempted_requests"].to_numpy() > 0
        return derived_waiting(facts, iterations, requests, preemptions, preempted)
    reason = iterations["waiting_reason"].to_numpy()
    early, preempts = np.isin(reason, BEFORE_BLOCKS), reason == Reason.PREEMPTION
    derived = derived_waiting(facts, iterations, requests, preemptions, preempts)
    return Waiting(
        kv_blocks=(reason == Reason.KV_BLOCKS) | preempts | (early & derived.kv_blocks),
        max_num_seqs=(reason == Reason.MAX_NUM_SEQS) | (early & derived.max_num_seqs),
        max_num_active_seqs=(reason == Reason.MAX_NUM_ACTIVE_SEQS) | (early & derived.max_num_active_seqs),
        token_budget=(reason == Reason.TOKEN_BUDGET) | (early & derived.token_budget),
        watermark=reason == Reason.WATERMARK,
        draft_slots=reason == Reason.DRAFT_SLOTS,
        prefill_interval=reason == Reason.PREFILL_INTERVAL,
        pause=reason == Reason.PAUSE,
        encoder=reason == Reason.ENCODER,
        deferral=(iterations["deferred_requests"].to_numpy() > 0) & ~preempts,
        unknown=reason == Reason.UNKNOWN,
    )


def derived_waiting(
    facts: dict[str, Any], iterations: pa.Table, requests: pa.Table, preemptions: pa.Table, preempted: Flags
) -> Waiting:
    """Derive what can have refused the next request from the columns of each step and from the requests."""
    column = {name: iterations[name].to_numpy() for name in COLUMNS}
    limits, scheduler = facts["limits"], scheduler_settings(facts)
    needs = next_needs(facts, iterations, requests, preemptions)
    ready = column["waiting_requests"] > 0
    left = limits["max_num_batched_tokens"] - column["scheduled_tokens"]
    free = facts["kv"]["blocks"] - column["kv_blocks_scheduled"]
    running = column["running_requests"]
    seqs = ready & (running >= limits["max_num_seqs"])
    fewer = ready & ~seqs & (running >= (scheduler.max_num_active_seqs or limits["max_num_seqs"]))
    budget = ready & (left <= 0 if scheduler.enable_chunked_prefill else left < needs.tokens)
    # A step that preempts lacks blocks, whatever else is full: what it preempts is not admitted again in that step.
    others = seqs | fewer | budget
    short = ready & ((free < needs.least_blocks) | (~others & (free < needs.most_blocks)))
    return Waiting(
        kv_blocks=preempted | short,
        max_num_seqs=seqs & ~preempted,
        max_num_active_seqs=fewer & ~preempted,
        token_budget=budget & ~preempted,
        **dict.fromkeys(ONLY_RECORDED, np.zeros(iterations.num_rows, dtype=bool)),
        deferral=(column["deferred_requests"] > 0) & ~preempted,
        unknown=ready & ~others & ~short & ~preempted,
    )


class SchedulerSettings(msgspec.Struct):
    """The settings of vLLM's scheduler that decide who is admitted. Older vLLM lacks some, and those are off."""

    max_num_active_seqs: Annotated[int, msgspec.Meta(ge=1)] | None = None
    enable_chunked_prefill: bool = True
    scheduler_reserve_full_isl: bool = False
    watermark: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.0


def scheduler_settings(facts: dict[str, Any]) -> SchedulerSettings:
    """Return the recorded settings, or the defaults if one has an unexpected type, as in a damaged file."""
    try:
        return msgspec.convert(facts["engine"]["arguments"].get("scheduler_config") or {}, SchedulerSettings)
    except msgspec.ValidationError:
        return SchedulerSettings()


MOST_LATECOMERS = 256  # that may pass a waiting request: preempted later, or of a higher priority
COLUMNS = ("waiting_requests", "deferred_requests", "running_requests", "scheduled_tokens", "kv_blocks_scheduled")


def next_needs(facts: dict[str, Any], iterations: pa.Table, requests: pa.Table, preemptions: pa.Table) -> Needs:
    """Return what the next request after each step in which one waits needs; that of the longest if none comes in."""
    queue = admissions(iterations, requests, preemptions)
    place = first_in_queue(queue, iterations["waiting_requests"].to_numpy() > 0)
    tokens = np.r_[queue.tokens, longest_request(facts, requests)][place]
    cached = np.r_[queue.cached_tokens, 0][place]
    scheduler = scheduler_settings(facts)
    kept_free = int(scheduler.watermark * (facts["kv"]["blocks"] + 1))
    reserved = tokens
    if not scheduler.scheduler_reserve_full_isl:  # only the first chunk has to fit
        left = facts["limits"]["max_num_batched_tokens"] - iterations["scheduled_tokens"].to_numpy()
        reserved = np.minimum(tokens, np.where(left > 0, left, facts["limits"]["max_num_batched_tokens"]))
    block_tokens, groups = facts["kv"]["block_size_tokens"], facts["kv"]["groups"]
    whole = -(-reserved // block_tokens)
    least = np.maximum(whole - cached // block_tokens, 1)
    return Needs(tokens - cached, least + kept_free, whole * groups + kept_free)


def longest_request(facts: dict[str, Any], requests: pa.Table) -> int:
    if not requests.num_rows:
        return int(facts["model"]["max_model_len"])
    return int((requests["prompt_tokens"].to_numpy() + requests["output_tokens"].to_numpy()).max())


@dataclass(frozen=True, eq=False)
class Admissions:
    """Requests in the order in which they left the queue, with the steps in which they entered and left it."""

    entered: Integers
    left: Integers
    tokens: Integers
    cached_tokens: Integers


def admissions(iterations: pa.Table, requests: pa.Table, preemptions: pa.Table) -> Admissions:
    """Return every admission, also those after a preemption, which stand at the head of the queue, the latest first."""
    starts = iterations["start_ns"].to_numpy()
    ran = requests.filter(requests["first_scheduled_ns"].is_valid())
    queued = ran["queued_ns"].fill_null(0).to_numpy()
    resumed = preemptions.filter(preemptions["resumed_iteration"].is_valid())
    lost, number = resumed["lost_tokens"].to_numpy(), iterations["iteration"].to_numpy()
    left = np.r_[
        np.searchsorted(number, resumed["resumed_iteration"].to_numpy()),
        np.searchsorted(starts, ran["first_scheduled_ns"].to_numpy()),
    ]
    entered = np.r_[np.searchsorted(number, resumed["iteration"].to_numpy()), np.searchsorted(starts, queued)]
    tokens = np.r_[lost + 1, ran["prompt_tokens"].to_numpy()]  # the last token was sampled, its KV not yet computed
    cached = np.r_[lost - resumed["recomputed_tokens"].to_numpy(), ran["cached_tokens"].to_numpy()]
    never_ran = np.arange(len(left)) >= len(lost)
    order = np.lexsort((np.r_[-resumed["preempted_ns"].to_numpy(), queued], never_ran, left))
    return Admissions(entered[order], left[order], tokens[order], cached[order])


def first_in_queue(queue: Admissions, waits: Flags) -> Integers:
    """Return for each step in which a request waits the next admission of one that was in the queue then.

    The end if there is none. Of steps in which nobody waits it is any: to look for that would take long runs longest.
    """
    number = np.arange(len(waits))
    place = np.searchsorted(queue.left, number, side="right")
    entered = np.r_[queue.entered, 0]
    late = np.flatnonzero(waits & (entered[place] > number))
    for _ in range(MOST_LATECOMERS):
        place[late] += 1
        late = late[entered[place[late]] > late]
    place[late] = len(queue.left)
    return place
