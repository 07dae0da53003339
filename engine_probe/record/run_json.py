"""What `run.json` must hold, key by key: whoever reads a recording may rely on it.

Callers add facts of their own beside these (workload, seeds ...); they are kept and not looked at.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import msgspec

from engine_probe.errors import InputError
from engine_probe.record.schema import SCHEMA_VERSION, SCHEMAS

WRITTEN_TABLES = SCHEMAS.keys() - {"workers"}  # ranks write their own streams

LATEST_NS = 2**62  # in the year 2116
MOST_BLOCKS = 2**31 - 1  # what the columns of blocks hold
PARTS = {"linear", "experts", "head", "embedding", "other"}

Positive = Annotated[int, msgspec.Meta(ge=1)]


class Clock(msgspec.Struct):
    """The monotonic clock of all tables against the wall clock."""

    monotonic_ns: int
    wall_ns: int
    wall: str


class Process(msgspec.Struct):
    pid: int
    started: int | None
    host: str


class Versions(msgspec.Struct):
    vllm: str | None
    distribution: str | None


class Engine(msgspec.Struct):
    arguments: dict[str, dict[str, Any] | None]
    executor: str
    scheduler: str
    asynchronous: bool


class Model(msgspec.Struct):
    name: str
    architecture: str | None
    dtype: str
    max_model_len: int
    num_layers: int
    num_kv_heads: int
    head_size: int


class Kv(msgspec.Struct):
    blocks: Positive
    block_size_tokens: Positive
    bytes: int
    bytes_per_block: int
    groups: int
    prefix_caching: bool


class Limits(msgspec.Struct):
    max_num_seqs: int
    max_num_batched_tokens: int
    policy: str


class Memory(msgspec.Struct):
    """Of one rank, before the recording: the parts of the device's memory, and what they are held against.

    Null is what could not be told; `missing` says why, `sources` where each of the others comes from.
    """

    rank: int
    device: str  # its UUID, or "cpu"
    name: str
    total_bytes: int | None
    weights_bytes: int | None
    kv_pool_bytes: int | None
    activations_bytes: int | None
    graphs_bytes: int | None
    other_bytes: int | None
    free_bytes: int | None
    reserved_bytes: int | None  # gpu_memory_utilization x total
    used_bytes: int | None  # by everybody, as CUDA says
    nvml_used_bytes: int | None  # by everybody, as NVML says
    rss_bytes: int | None  # of the worker's process, on the host
    sources: dict[str, str]
    missing: dict[str, str]


class Weights(msgspec.Struct):
    parameters: int
    bytes: int
    products: int  # multiplications of a matrix product for one token: values of the matrices, without biases


class Experts(msgspec.Struct):
    """Of one layer; parameters and bytes are those of a single expert."""

    held: int
    all: int
    per_token: int
    parameters: int
    bytes: int


class Attention(msgspec.Struct):
    """Layers of one kind; heads are those of this rank."""

    layers: int
    heads: int
    kv_heads: int
    head_size: int
    window: int | None
    kv_value_bytes: int | None


class Loaded(msgspec.Struct):
    """The model as one rank holds it. A tied head is the embedding, held once and named in both parts."""

    rank: int
    parameters: int
    bytes: int
    parts: dict[str, Weights]  # linear, experts, head, embedding, other
    beside_text: Weights  # encoders of pictures and sound
    tied_head: bool
    row_bytes: int  # of one token in all embeddings
    experts: list[Experts]
    attention: list[Attention]
    dtypes: dict[str, int]  # bytes of each
    unknown: list[str]  # kinds of layers whose work cannot be told from their shape


class TableFacts(msgspec.Struct):
    rows: int
    bytes: int
    crc32: int


class Rank(msgspec.Struct):
    rank: int
    pid: int
    rows: int
    failure: str | None


class Workers(msgspec.Struct):
    recorded: bool
    reason: str | None
    ranks: list[Rank]


class SampledDevice(msgspec.Struct):
    device: int
    name: str
    uuid: str
    mig_instance: bool


class Telemetry(msgspec.Struct):
    """How the table of the same name came about, and what could not be read; of a run that was cut, so far."""

    period_seconds: float | None
    samples: int
    missed_samples: int
    cpu_ns: int
    devices: list[SampledDevice]
    notes: list[str]
    failure: str | None


class Facts(msgspec.Struct, kw_only=True):
    """From the first moment of a run; nothing is known of files and workers before it ends."""

    schema_version: int
    status: Literal["recording", "complete", "incomplete"]
    clock: Clock
    process: Process
    versions: Versions
    engine: Engine
    model: Model
    kv: Kv
    limits: Limits
    memory: list[Memory] | msgspec.UnsetType = msgspec.UNSET  # by rank
    loaded: list[Loaded] | msgspec.UnsetType = msgspec.UNSET
    unread: list[str] | msgspec.UnsetType = msgspec.UNSET  # why a rank is missing there
    tables: dict[str, TableFacts] | msgspec.UnsetType = msgspec.UNSET
    workers: Workers | msgspec.UnsetType = msgspec.UNSET
    telemetry: Telemetry | msgspec.UnsetType = msgspec.UNSET


class Ended(Facts, kw_only=True):
    """... and once somebody has closed it."""

    tables: dict[str, TableFacts]  # none where the streams were kept
    workers: Workers
    close: dict[str, Any]


class Complete(Ended, kw_only=True):
    failure: None


class Incomplete(Ended, kw_only=True):
    failure: str


class Host(msgspec.Struct):
    name: str = ""


class Gpu(msgspec.Struct):
    name: str = ""
    uuid: str = ""


class Ceiling(msgspec.Struct):
    """As `kernels_bench` measured it; what it says of trust came later and may be missing."""

    value: Annotated[float, msgspec.Meta(gt=0, le=1e30)]
    unit: Literal["B/s", "FLOP/s", "OP/s", "ns"]
    stable: bool
    quick: bool
    measured: str
    spread: float | None = None
    verdict: str | None = None
    doubts: list[str] = []


class Hardware(msgspec.Struct):
    host: Host | msgspec.UnsetType | None = msgspec.UNSET
    gpus: list[Gpu] | msgspec.UnsetType | None = msgspec.UNSET
    ceilings: dict[str, dict[str, Ceiling]] | msgspec.UnsetType | None = msgspec.UNSET


class Close(msgspec.Struct):
    """What readers look into of what was found at the end; the rest is for people."""

    requests_in_flight_at_close: int | msgspec.UnsetType = msgspec.UNSET
    counters_not_audited: str | msgspec.UnsetType | None = msgspec.UNSET  # why they were not
    values_kept_in_part: dict[str, int] | msgspec.UnsetType = msgspec.UNSET  # by table.column
    rows_left_out: dict[str, int] | msgspec.UnsetType = msgspec.UNSET  # by table


class Beside(msgspec.Struct):
    """Of what callers add, and of what was found at the end, as much as readers look into."""

    hardware: Hardware | msgspec.UnsetType | None = msgspec.UNSET
    workload: dict[str, Any] | msgspec.UnsetType | None = msgspec.UNSET
    close: Close | msgspec.UnsetType = msgspec.UNSET


_KINDS: dict[str, type[Facts]] = {"complete": Complete, "incomplete": Incomplete}


def what_is_wrong(facts: Any) -> str | None:
    """One clause about the first key that is missing or of the wrong type; None when all is well."""
    if not isinstance(facts, dict):
        return f"it holds a {type(facts).__name__} and not an object"
    if (version := facts.get("schema_version")) != SCHEMA_VERSION or isinstance(version, bool):
        return f"schema version {version!r}, this engine_probe reads version {SCHEMA_VERSION}"
    status = facts.get("status")
    try:
        msgspec.convert(facts, Beside)
        msgspec.convert(facts, _KINDS.get(status, Facts) if isinstance(status, str) else Facts)
    except msgspec.ValidationError as error:
        return str(error)
    if outside := [name for name in ("monotonic_ns", "wall_ns") if not 0 <= facts["clock"][name] < LATEST_NS]:
        return f"$.clock.{outside[0]} is {facts['clock'][outside[0]]}, and no clock shows that"
    if facts["kv"]["blocks"] > MOST_BLOCKS:
        return f"$.kv.blocks is {facts['kv']['blocks']}, and no pool has so many"
    for rank in facts.get("loaded", ()):
        if parts := PARTS - rank["parts"].keys():
            return f"$.loaded has no {min(parts)} in the parts of a rank"
    gone = sorted(WRITTEN_TABLES - facts.get("tables", {}).keys())
    return f"$.tables has no {gone[0]}" if status == "complete" and gone else None


def checked_additions(added: dict[str, Any]) -> dict[str, Any]:
    """A caller's own facts: under names that are free, and such as JSON can hold."""
    if taken := sorted(added.keys() & {field.name for field in msgspec.structs.fields(Complete)}):
        raise InputError(f"{taken[0]!r} is a key of run.json itself: give this fact another name")
    for name, value in added.items():
        try:
            json.dumps(value)
        except (TypeError, ValueError) as error:
            raise InputError(f"{name}={value!r} cannot be kept in run.json ({error}): give plain values") from error
        try:
            msgspec.convert({name: value}, Beside)
        except msgspec.ValidationError as error:
            raise InputError(f"{name}={value!r}: reports look into it ({error}): give its parts by name") from error
    return added
