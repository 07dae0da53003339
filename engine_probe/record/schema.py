"""Every recorded table: its columns, their units and meanings. Read this file first.

These files are the interface of a recording: each field carries its description and unit, each file the schema version,
and an unknown version is refused. All times are nanoseconds of one monotonic clock; `run.json` relates it to the wall
clock. "Flow" columns count what happened since the previous row's schedule() returned: added to the running and waiting
requests of the row before, they give those of this row.
"""

from enum import IntEnum, StrEnum
from functools import cache

import pyarrow as pa

SCHEMA_VERSION = 5
READABLE_VERSIONS = (3, 4, 5)
VERSION_KEY = b"engine_probe.schema_version"
TABLE_KEY = b"engine_probe.table"

_TYPES = {
    "i32": pa.int32(),
    "i64": pa.int64(),
    "text": pa.string(),
    "f32": pa.float32(),
    "i64[]": pa.list_(pa.int64()),
    "i32[]": pa.list_(pa.int32()),
    "f32[]": pa.list_(pa.float32()),
}


class WaitingReason(IntEnum):
    """What vLLM's scheduler refused the first waiting request for; blocked requests only count if no other waits."""

    NOBODY = 0  # no request waited when schedule() returned
    KV_BLOCKS = 1  # fewer blocks were free than it needs
    WATERMARK = 2  # enough were free, but not without those that the watermark keeps free for running requests
    TOKEN_BUDGET = 3  # max_num_batched_tokens, or what is left of it is too little for a part of this prompt
    MAX_NUM_SEQS = 4
    MAX_NUM_ACTIVE_SEQS = 5  # where it is less than max_num_seqs
    DRAFT_SLOTS = 6  # the rest of the token budget is kept for draft tokens
    PREFILL_INTERVAL = 7  # prefills were held back in this step
    PREEMPTION = 8  # this step preempted a running request for want of KV blocks, and then admits none
    PAUSE = 9  # the scheduler is paused
    ENCODER = 10  # budget or cache of the encoder
    REMOTE_KV = 11  # blocked: a KV connector loads its tokens
    GRAMMAR = 12  # blocked: its grammar is being compiled
    STREAMING_INPUT = 13  # blocked: a streaming session waits for its next input
    LORA_SLOTS = 14  # blocked: as many adapters as fit are in use
    OTHER_DEFERRAL = 15  # blocked: vLLM held it back, as for an answer of a KV connector or an encoder input
    UNKNOWN = 16

    @property
    def words(self) -> str:
        """Return the name as a text shows it: settings as vLLM spells them."""
        if self.name.startswith("MAX_"):
            return self.name.lower()
        return " ".join({"kv": "KV", "lora": "LoRA"}.get(word, word) for word in self.name.lower().split("_"))


class PreemptionCause(StrEnum):
    """Why a request was preempted."""

    KV_BLOCKS = "KV blocks"  # a running request lacked blocks, and the last of the running list gave way, or itself
    KV_BLOCKS_BY_PRIORITY = "KV blocks, by priority"  # likewise, and the least important gave way
    RESET = "reset of the prefix cache"  # which was told to preempt all, as for new weights
    RESET_IN_PAUSE = "reset of the prefix cache in a pause"  # of the engine, which may have been put to sleep


ANSWERED = ("stop", "length")  # finish reasons of vLLM for requests that got their answer


class AnswerOutcome(StrEnum):
    """How a request of the workload ended."""

    ANSWERED = "answered"
    DEADLINE = "deadline"  # aborted by the driver between two steps, because its deadline had passed
    STOPPED = "stopped"  # in flight when the run ended, which aborted it
    FAILED = "failed"  # ended by vLLM without an answer


_REASONS = ", ".join(f"{reason.value} {reason.name.lower()}" for reason in WaitingReason)

# (name, type, unit, meaning); "?" after the type marks a nullable column. A column of iterations is null only in
# recordings of a version without it.
_ITERATIONS = (
    ("iteration", "i64", "", "number of the engine step since the probe was attached"),
    ("start_ns", "i64", "ns", "when schedule() was called"),
    ("gap_ns", "i64", "ns", "from the last return out of the scheduler to this schedule(): outside the core"),
    ("schedule_ns", "i64", "ns", "duration of schedule()"),
    ("running_requests", "i32", "requests", "in the running list when schedule() returned"),
    ("waiting_requests", "i32", "requests", "waiting and ready when schedule() returned"),
    ("deferred_requests", "i32", "requests", "waiting, but blocked (grammar, remote KV, LoRA slots ...)"),
    ("waiting_reason", "i32?", "", f"why the first waiting request was not admitted: {_REASONS}"),
    ("arrived_requests", "i32", "requests", "flow: added to the scheduler"),
    ("new_requests", "i32", "requests", "scheduled for the first time"),
    ("resumed_requests", "i32", "requests", "scheduled again after a preemption"),
    ("preempted_requests", "i32", "requests", "flow: preempted, which takes them off the running list"),
    ("left_running_requests", "i32", "requests", "flow: finished or aborted while running"),
    ("left_waiting_requests", "i32", "requests", "flow: finished or aborted while waiting"),
    ("scheduled_requests", "i32", "requests", "given tokens in this step"),
    ("scheduled_tokens", "i32", "tokens", "vLLM's own total: prefill + decode + speculative"),
    ("prefill_tokens", "i32", "tokens", "scheduled tokens of prompts, and of what a preemption lost"),
    ("decode_tokens", "i32", "tokens", "scheduled tokens that continue an answer, one per request"),
    ("speculative_tokens", "i32", "tokens", "scheduled draft tokens"),
    ("recomputed_tokens", "i32", "tokens", "part of prefill_tokens computed before and lost to a preemption"),
    (
        "cached_tokens",
        "i32",
        "tokens",
        "not computed when requests were admitted: in the prefix cache or a connector's",
    ),
    ("connector_tokens", "i32?", "tokens", "part of cached_tokens that a KV connector supplied"),
    ("kv_blocks_scheduled", "i32", "blocks", "KV blocks in use when schedule() returned"),
    ("kv_blocks_cached_free", "i32", "blocks", "free blocks that still hold a reusable prefix, then"),
    ("kv_blocks_shared", "i32", "blocks", "references to blocks beyond the first (prefix sharing), then"),
    ("kv_tokens_live", "i64", "tokens", "sum over requests of the tokens whose KV they hold or compute, then"),
    ("execute_ns", "i64", "ns", "from the return of schedule() to update_from_output(): model and sampling"),
    ("update_ns", "i64", "ns", "duration of update_from_output()"),
    ("finished_requests", "i32", "requests", "finished by this step's output"),
    ("output_tokens", "i32", "tokens", "tokens this step delivered"),
    ("kv_blocks_updated", "i32", "blocks", "KV blocks in use after the update"),
    ("probe_ns", "i64", "ns", "what the probe cost since it packed the previous row; inside the other times"),
)

_REQUESTS = (
    ("request_id", "text", "", "vLLM's internal request id"),
    (
        "arrival_ns",
        "i64?",
        "ns",
        "when the caller handed it over (vLLM's wall-clock arrival, on this clock); null if that is after queued_ns, "
        "before this clock began, or no time",
    ),
    (
        "queued_ns",
        "i64?",
        "ns",
        "when the scheduler took it; null if that was before the probe attached, or within the step that ran it first",
    ),
    ("first_scheduled_ns", "i64?", "ns", "start of the first step that gave it tokens"),
    ("first_token_ns", "i64?", "ns", "end of the update that delivered its first token"),
    ("last_token_ns", "i64?", "ns", "end of the update that delivered its last token"),
    ("finished_ns", "i64", "ns", "when the scheduler let it go"),
    ("prompt_tokens", "i32", "tokens", "length of the prompt"),
    ("output_tokens", "i32", "tokens", "tokens generated"),
    ("cached_tokens", "i32", "tokens", "prompt tokens not computed at first admission: cached, or a connector's"),
    ("connector_tokens", "i32?", "tokens", "part of cached_tokens that a KV connector supplied"),
    ("recomputed_tokens", "i32", "tokens", "tokens computed a second time after preemptions"),
    ("preemptions", "i32", "", "how often it was preempted"),
    ("peak_kv_blocks", "i32", "blocks", "most KV blocks it held when it was preempted or let go"),
    (
        "priority",
        "i64",
        "",
        "vLLM's priority (0 without priority scheduling); the nearest of 64 bits to one beyond them",
    ),
    ("finish_reason", "text", "", "stop, length, abort, error ... in vLLM's words"),
    ("first_token_iteration", "i64?", "", "iteration that delivered the first token"),
    ("last_token_iteration", "i64?", "", "iteration that delivered the last token"),
    ("run_starts", "i64[]", "", "first iterations of the stretches in which every step delivered tokens"),
    ("run_lengths", "i32[]", "", "how many iterations each of these stretches lasts"),
    ("burst_iterations", "i64[]", "", "iterations in these stretches that delivered not one but ..."),
    ("burst_tokens", "i32[]", "tokens", "... this many tokens (speculative decoding)"),
)

_PREEMPTIONS = (
    ("request_id", "text", "", "vLLM's internal id of the preempted request"),
    ("iteration", "i64", "", "the schedule() that did it"),
    ("preempted_ns", "i64", "ns", "when"),
    ("lost_tokens", "i32", "tokens", "computed tokens whose KV was given up"),
    ("freed_blocks", "i32", "blocks", "blocks that became free by it"),
    ("kv_blocks_before", "i32", "blocks", "KV blocks in use just before"),
    ("kv_blocks_after", "i32", "blocks", "and just after"),
    ("resumed_iteration", "i64?", "", "iteration that gave it tokens again; null if it never ran again"),
    ("resumed_ns", "i64?", "ns", "start of that iteration"),
    ("recomputed_tokens", "i32", "tokens", "of the lost tokens, those computed again (the rest was cached)"),
    ("cause", "text?", "", f"one of: {'; '.join(PreemptionCause)}"),
)

# A stream that is removed at close; with `requests` it shows which requests were in flight when a process was killed.
_ARRIVALS = (
    ("request_id", "text", "", "vLLM's internal request id"),
    ("queued_ns", "i64?", "ns", "when the scheduler took it; null if that was before the probe attached"),
    ("prompt_tokens", "i32", "tokens", "length of the prompt"),
)

# Each sample is one row of the host and one of each device. Columns that are read each second are null in between.
# Without another window, a value is that of the moment of the sample.
_TELEMETRY = (
    ("time_ns", "i64", "ns", "when the sample was taken"),
    ("device", "i32?", "", "GPU index by NVML; null for the row of the host"),
    (
        "power_mw",
        "i64?",
        "mW",
        "power draw of the whole GPU: at this moment, or the average of the last second on GPUs that tell no other "
        "(power_window in run.json)",
    ),
    (
        "energy_mj",
        "i64?",
        "mJ",
        "energy of the GPU since its driver was loaded; of the host, that of CPU packages and memory (RAPL) since the "
        "recording began, each second",
    ),
    ("temperature_c", "i32?", "°C", "GPU temperature"),
    ("sm_clock_mhz", "i32?", "MHz", "SM clock"),
    ("memory_clock_mhz", "i32?", "MHz", "memory clock"),
    (
        "gpu_utilisation_percent",
        "i32?",
        "%",
        "share of time with a kernel running, by NVML, over its last period of 1/6 to 1 s",
    ),
    (
        "memory_utilisation_percent",
        "i32?",
        "%",
        "share of time the memory was read or written, by NVML, over that period",
    ),
    ("memory_used_bytes", "i64?", "bytes", "memory in use by everybody, of the device, or of the host each second"),
    (
        "process_memory_bytes",
        "i64?",
        "bytes",
        "device memory held by this process and its children (each second), or this process's RSS on the host",
    ),
    ("throttle_reasons", "i64?", "", "NVML bit mask of reasons for reduced clocks"),
    ("performance_state", "i32?", "", "NVML's P-state, 0 is the fastest (each second)"),
    ("pcie_tx_bytes_per_s", "i64?", "bytes/s", "PCIe traffic sent since the row before, or in 20 ms of each second"),
    ("pcie_rx_bytes_per_s", "i64?", "bytes/s", "PCIe traffic received, likewise"),
    (
        "sm_activity_percent",
        "f32?",
        "%",
        "SMs that were busy, by NVML's GPM, since the row before that has it (each second), as the six columns below",
    ),
    ("tensor_activity_percent", "f32?", "%", "time the SMs did tensor operations"),
    ("dram_bandwidth_percent", "f32?", "%", "bandwidth of the device's memory that was used, of its maximum by NVML"),
    ("nvlink_tx_bytes_per_s", "i64?", "bytes/s", "NVLink traffic sent, all links together"),
    ("nvlink_rx_bytes_per_s", "i64?", "bytes/s", "NVLink traffic received, likewise"),
    ("c2c_tx_bytes_per_s", "i64?", "bytes/s", "traffic sent over NVLink-C2C to the CPU of the same package"),
    ("c2c_rx_bytes_per_s", "i64?", "bytes/s", "traffic received over it"),
    ("ecc_errors", "i64?", "", "volatile uncorrected ECC errors since the driver was loaded (each second)"),
    ("ecc_corrected_errors", "i64?", "", "volatile corrected ECC errors, likewise (each second)"),
    ("cpu_percent", "f32?", "%", "CPU use of this process since the row before, 100 is one core"),
    (
        "machine_cpu_percent",
        "f32?",
        "%",
        "CPU use of the whole machine since the row before that has it, 100 is one core (each second)",
    ),
)

_WORKERS = (
    ("iteration", "i64", "", "number of the engine step since the probe was attached"),
    ("rank", "i32", "", "rank of the worker"),
    ("start_ns", "i64", "ns", "when the worker began the step"),
    (
        "forward_start_ns",
        "i64?",
        "ns",
        "when the host began the forward, and until then it prepared inputs; null without a forward",
    ),
    ("forward_ns", "i64?", "ns", "host time of the forward: launching its kernels on a GPU, computing on a CPU"),
    ("execute_ns", "i64", "ns", "host time inside execute_model(); what follows the forward in it computes logits"),
    ("sample_start_ns", "i64?", "ns", "when sample_tokens() was called; null where execute_model() samples"),
    ("sample_ns", "i64", "ns", "host time inside sample_tokens(); 0 where execute_model() samples"),
    (
        "bookkeep_ns",
        "i64?",
        "ns",
        "last part of sample_ns, from when bookkeeping began; without asynchronous scheduling it waits for a GPU",
    ),
    (
        "device_start_ns",
        "i64?",
        "ns",
        "when the device began the forward, on this clock as of the recording's begin (device_clock in run.json); null "
        "without a GPU",
    ),
    (
        "device_ns",
        "i64?",
        "ns",
        "device time of the forward, between two CUDA events; with device_start_ns null, of the whole step, host "
        "time included (version 3); null without a GPU",
    ),
    ("scheduled_tokens", "i32", "tokens", "tokens of the step as the worker saw them"),
    (
        "graph_mode",
        "i32?",
        "",
        "how the forward ran: 0 outside CUDA graphs, 1 in piecewise graphs, 2 in one full graph; null without a "
        "forward, or if vLLM's runner does not tell it",
    ),
    (
        "computed_tokens",
        "i32?",
        "tokens",
        "tokens of the forward with padding, to a graph's size and to that of other data parallel ranks; null as above",
    ),
)

# Recordings made before this table was added lack it.
_HOST_EVENTS = (
    ("start_ns", "i64", "ns", "when it began"),
    ("duration_ns", "i64", "ns", "how long it lasted, at least 0.5 ms"),
    (
        "kind",
        "text",
        "",
        "garbage collection or compilation in the engine core's process; the probe's writer or telemetry; page faults "
        "of the engine core's thread between two samples, or its waits for a processor; what ends in 'of rank' and a "
        "number happened in that worker's own process",
    ),
    (
        "held_ns",
        "i64",
        "ns",
        "how much of it can have held up the engine: all of a pause; the CPU time of the probe's thread; among page "
        "faults the core's system time, in ticks of 10 ms, and its waits for the disk; the waits for a processor",
    ),
    ("number", "i64?", "", "generation of a garbage collection; number of page faults or of involuntary switches"),
)

# With tensor parallelism on a CPU, a row for each step with collectives in its forward, but for those that torch's
# profiler slowed down. Recordings made before this table was added lack it.
_COLLECTIVES = (
    ("iteration", "i64", "", "number of the engine step since the probe was attached"),
    ("rank", "i32", "", "rank of the worker"),
    (
        "durations_ns",
        "i64[]",
        "ns",
        "host time of each collective of the tensor parallel group in the forward, in their order, waiting for the "
        "other ranks included",
    ),
)

# Of a window of steps in which torch's profiler ran (`hook/workers/operator_rows.py` says what belongs to what).
_OPERATORS = (
    ("iteration", "i64", "", "number of the engine step since the probe was attached"),
    ("rank", "i32", "", "rank of the worker"),
    (
        "phase",
        "text",
        "",
        "of the step: input preparation, forward, logits, sampling, bookkeeping; or whole step, without a forward",
    ),
    ("place", "text", "", "host: the worker's thread; device: its GPU, in the phase in which the host launched it"),
    ("kind", "text", "", "what the operator or kernel is for; gap: no operator or kernel was running"),
    ("layer", "text?", "", "kind of the layer it ran in; null between layers, and if layers cannot be told apart"),
    ("name", "text", "", "name of the operator or kernel; empty for a gap"),
    ("calls", "i64", "", "how often it began in this phase and layer"),
    ("duration_ns", "i64", "ns", "time that belongs to it alone; a phase's rows of one place add up to its duration"),
)

_OPERATOR_SLICES = (
    ("rank", "i32", "", "rank of the worker"),
    ("start_ns", "i64", "ns", "when the operator or kernel began"),
    ("duration_ns", "i64", "ns", "how long it lasted, with those inside it"),
    ("place", "text", "", "host: the worker's thread; device: its GPU"),
    ("stream", "i64?", "", "number of the GPU's stream; null on the host"),
    ("kind", "text", "", "what it is for"),
    ("name", "text", "", "its name"),
)

# Speculative decoding: a row for each step with drafts. Recordings made before this table was added lack it.
_DRAFTS = (
    ("iteration", "i64", "", "number of the engine step"),
    ("drafted", "i32[]", "tokens", "length of each draft when the step was scheduled"),
    (
        "accepted",
        "i32[]",
        "tokens",
        "of each draft with accepted tokens, how many the step gave its request: what vLLM accepts beyond an answer's "
        "end is not given",
    ),
)

# The requests that the workload driver handed over; no rows of other programs' requests. Recordings made before this
# table was added lack it.
_ANSWERS = (
    ("request_id", "text", "", "vLLM's internal request id, as in requests"),
    ("prompt_id", "text", "", "id in the workload's plan: the same prompt wherever description and seed are the same"),
    ("question_id", "text?", "", "id of the question; null if the prompts are no question set"),
    ("prompt_crc32", "i64", "", "checksum of the prompt's tokens: answers to other prompts are never compared"),
    ("outcome", "text", "", f"one of: {', '.join(AnswerOutcome)}; deadline and stopped were aborted by the driver"),
    ("answer_crc32", "i64?", "", "checksum of the answer's tokens; null if they were streamed and not kept"),
    ("token_ids", "i32[]?", "", "the answer's tokens, as far as it came; null unless they were asked for"),
    ("text", "text?", "", "the same as text, without special tokens; null unless it was asked for"),
    ("logprobs", "f32[]?", "", "log-probability of each token, by vLLM; null unless they were asked for"),
    ("second_token_ids", "i32[]?", "", "at each place the most probable token other than the chosen one"),
    ("second_logprobs", "f32[]?", "", "the log-probability of that token"),
)


def _schema(table: str, columns: tuple[tuple[str, str, str, str], ...]) -> pa.Schema:
    fields = [
        pa.field(
            name, _TYPES[kind.rstrip("?")], nullable=kind.endswith("?"), metadata={"unit": unit, "description": meaning}
        )
        for name, kind, unit, meaning in columns
    ]
    return pa.schema(fields, metadata={VERSION_KEY: str(SCHEMA_VERSION), TABLE_KEY: table})


SCHEMAS: dict[str, pa.Schema] = {
    "iterations": _schema("iterations", _ITERATIONS),
    "requests": _schema("requests", _REQUESTS),
    "preemptions": _schema("preemptions", _PREEMPTIONS),
    "telemetry": _schema("telemetry", _TELEMETRY),
    "workers": _schema("workers", _WORKERS),
}
# Columns that recordings of an older version lack, by the version that added them; they are read as null.
_ADDED: dict[int, dict[str, tuple[str, ...]]] = {
    4: {"workers": ("forward_start_ns", "forward_ns", "sample_start_ns", "bookkeep_ns", "device_start_ns")},
    5: {
        "telemetry": (
            *("sm_activity_percent", "tensor_activity_percent", "dram_bandwidth_percent", "nvlink_tx_bytes_per_s"),
            *("nvlink_rx_bytes_per_s", "c2c_tx_bytes_per_s", "c2c_rx_bytes_per_s"),
        ),
        "iterations": ("waiting_reason", "connector_tokens"),
        "requests": ("connector_tokens",),
        "preemptions": ("cause",),
        "workers": ("graph_mode", "computed_tokens"),
    },
}
# Tables that older recordings lack, also some of this version; they are read as empty.
ADDED_SCHEMAS: dict[str, pa.Schema] = {
    "host_events": _schema("host_events", _HOST_EVENTS),
    "drafts": _schema("drafts", _DRAFTS),
    "answers": _schema("answers", _ANSWERS),
    "operators": _schema("operators", _OPERATORS),
    "operator_slices": _schema("operator_slices", _OPERATOR_SLICES),
    "collectives": _schema("collectives", _COLLECTIVES),
}
NO_ANSWERS = pa.Table.from_batches([], ADDED_SCHEMAS["answers"])  # empty_table() would import pandas now
RANK_TABLES = ("workers", "operators", "operator_slices", "collectives")  # each rank writes a stream of its own
TABLES: dict[str, pa.Schema] = {**SCHEMAS, **ADDED_SCHEMAS}
# With the stream that is only there during a recording, or after it was cut.
STREAMS: dict[str, pa.Schema] = {**TABLES, "arrivals": _schema("arrivals", _ARRIVALS)}


@cache
def schema_of_version(table: str, version: int) -> pa.Schema:
    """Return the schema that a table had in a readable version."""
    lacking = {name for later, added in _ADDED.items() if later > version for name in added.get(table, ())}
    schema = pa.schema([field for field in STREAMS[table] if field.name not in lacking])
    return schema.with_metadata({VERSION_KEY: str(version), TABLE_KEY: table})
