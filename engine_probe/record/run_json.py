"""The keys of `run.json` that readers of a recording may rely on.

Callers may add facts under other keys (workload, seeds ...), which are stored unchecked, apart from `ReadByReports`.
"""

import json
import re
from typing import Annotated, Any, Literal

import msgspec

from engine_probe.errors import InputError
from engine_probe.record.schema import RANK_TABLES, READABLE_VERSIONS, SCHEMAS

WRITTEN_TABLES = SCHEMAS.keys() - set(RANK_TABLES)

READABLE_TEXT = f"{READABLE_VERSIONS[0]} to {READABLE_VERSIONS[-1]}"
LATEST_NS = 2**62  # in the year 2116
MOST_BLOCKS = 2**31 - 1  # what the columns of blocks hold
MOST_PROFILED_STEPS = 100  # a large model has thousands of operators in a step, all kept and folded at the end
PARTS = {"linear", "experts", "head", "embedding", "other"}

Moment = Annotated[int, msgspec.Meta(ge=0, le=LATEST_NS)]
Positive = Annotated[int, msgspec.Meta(ge=1)]


class Clock(msgspec.Struct):
    """Holds the monotonic clock of all tables and the wall clock at the same moment."""

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


class Compilation(msgspec.Struct):
    """Holds how vLLM compiles the model and captures CUDA graphs, as the engine resolved it."""

    mode: str | None  # vLLM's CompilationMode
    backend: str | None
    graph_mode: str | None  # vLLM's CUDAGraphMode: which batches run in graphs, and in which kind
    capture_sizes: list[int]  # tokens of the batches that graphs were captured for
    max_capture_size: int | None  # a batch of more tokens runs outside graphs
    splitting_ops: list[str] | None  # where a piecewise graph is cut
    custom_ops: list[str]


class Memory(msgspec.Struct):
    """Holds the parts of one rank's device memory before the recording, and totals to compare them with.

    A figure that could not be read is null, with its reason in `missing`; `sources` says where each other comes from.
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
    used_bytes: int | None  # by all processes, from CUDA
    nvml_used_bytes: int | None  # by all processes, from NVML
    rss_bytes: int | None  # of the worker's process, on the host
    sources: dict[str, str]
    missing: dict[str, str]


class Weights(msgspec.Struct):
    parameters: int
    bytes: int
    products: int  # multiplications of a matrix product for one token: values of the matrices, without biases


class Experts(msgspec.Struct):
    """Describes the experts of one layer; `parameters` and `bytes` are those of a single expert."""

    held: int
    all: int
    per_token: int
    parameters: int
    bytes: int


class Attention(msgspec.Struct):
    """Describes the attention layers of one kind; `heads` and `kv_heads` are those of this rank."""

    layers: int
    heads: int
    kv_heads: int
    head_size: int
    window: int | None
    kv_value_bytes: int | None


class Loaded(msgspec.Struct):
    """Holds the weights of one rank. A tied head is held once, and counted in both `embedding` and `head`."""

    rank: int
    parameters: int
    bytes: int
    parts: dict[str, Weights]  # linear, experts, head, embedding, other
    beside_text: Weights  # encoders of images and sound
    tied_head: bool
    row_bytes: int  # of one token in all embeddings
    experts: list[Experts]
    attention: list[Attention]
    dtypes: dict[str, int]  # bytes of each
    unknown: list[str]  # kinds of layers whose work their shape does not tell
    schemes: dict[str, int] = {}  # bytes of matrices by vLLM's class that multiplies them; older recordings lack it


class TableFacts(msgspec.Struct):
    rows: int
    bytes: int
    crc32: int


class ClockAnchor(msgspec.Struct):
    """Relates a device's clock to the host's: the device read `device_ns` within `within_ns` of `host_ns`."""

    host_ns: Moment
    device_ns: Moment
    within_ns: Moment


class DeviceClock(msgspec.Struct):
    """Holds the anchors of a rank's device clock; the table's device times rest on the first alone."""

    begin: ClockAnchor
    end: ClockAnchor | None


class OperatorWindow(msgspec.Struct, frozen=True):
    """The steps in which torch's profiler is to run, counted from 0 since the recording began."""

    steps: Positive
    first: Annotated[int, msgspec.Meta(ge=0)]

    @property
    def last(self) -> int:
        return self.first + self.steps - 1

    def __str__(self) -> str:
        return f"{self.steps}@{self.first}"


class Profiled(msgspec.Struct):
    """Describes what torch's profiler saw of a rank, between two moments of this clock; 0 steps: it never began."""

    steps: int
    began_ns: Moment
    ended_ns: Moment
    rows: int  # of the table operators
    slices: int  # of the table operator_slices
    slices_left_out: int  # the shortest
    layers_missing: str | None  # why the layers are not told apart
    failure: str | None  # why less was seen than asked for


class Rank(msgspec.Struct):
    rank: int
    pid: int
    rows: int
    failure: str | None
    phases_missing: str | None = None  # why the phases of its steps are not recorded
    device_missing: str | None = None  # why a GPU's times are not recorded
    device_clock: DeviceClock | None = None
    operators: Profiled | None = None
    collectives: int | None = None  # rows of the table; None if the host does not time them
    collectives_probe_ns: int | None = None  # of noting their times, within the forwards: what a clock sees
    collectives_missing: str | None = None  # why it does not, although the rank shares its layers with others


class Workers(msgspec.Struct):
    recorded: bool
    reason: str | None
    ranks: list[Rank]


class SampledDevice(msgspec.Struct):
    device: int
    name: str
    uuid: str
    mig_instance: bool  # its memory is that of a MIG instance
    mig_split: bool = False  # split by MIG, so that its sensors are not this engine's alone
    power_window: str | None = None  # of power_mw; None in older recordings
    c2c_links: int = 0  # to the CPU of the same package, beside PCIe


class Telemetry(msgspec.Struct):
    """Describes how `telemetry` was sampled and what could not be read."""

    period_seconds: float | None
    samples: int
    missed_samples: int
    cpu_ns: int
    devices: list[SampledDevice]
    notes: list[str]
    failure: str | None


class Facts(msgspec.Struct, kw_only=True):
    """Holds the keys that `run.json` has from the start of a run."""

    schema_version: int
    status: Literal["recording", "complete", "incomplete"]
    clock: Clock
    process: Process
    versions: Versions
    engine: Engine
    model: Model
    kv: Kv
    limits: Limits
    compilation: Compilation | msgspec.UnsetType = msgspec.UNSET  # since version 5
    memory: list[Memory] | msgspec.UnsetType = msgspec.UNSET  # by rank
    loaded: list[Loaded] | msgspec.UnsetType = msgspec.UNSET
    unread: list[str] | msgspec.UnsetType = msgspec.UNSET  # why a rank is missing in `memory` or `loaded`
    tables: dict[str, TableFacts] | msgspec.UnsetType = msgspec.UNSET
    workers: Workers | msgspec.UnsetType = msgspec.UNSET
    telemetry: Telemetry | msgspec.UnsetType = msgspec.UNSET
    operators: OperatorWindow | msgspec.UnsetType = msgspec.UNSET


class Ended(Facts, kw_only=True):
    """Holds the keys that `run.json` also has once a run was closed."""

    tables: dict[str, TableFacts]  # empty if the streams were kept
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
    """Holds a ceiling that `kernels_bench` measured; older recordings lack the last three keys."""

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
    """Holds the keys of `close` that reports read."""

    requests_in_flight_at_close: int | msgspec.UnsetType = msgspec.UNSET
    counters_not_audited: str | msgspec.UnsetType | None = msgspec.UNSET  # the reason
    failed_kv_loads: int | msgspec.UnsetType = msgspec.UNSET  # of running requests, by a KV connector
    turns_of_streaming_sessions: int | msgspec.UnsetType = msgspec.UNSET  # that another followed
    values_kept_in_part: dict[str, int] | msgspec.UnsetType = msgspec.UNSET  # by table.column
    rows_left_out: dict[str, int] | msgspec.UnsetType = msgspec.UNSET  # by table


class PredictedPrice(msgspec.Struct):
    """Holds nanoseconds for one of a term, and the most of it that any step had from which they come.

    `most` is None where the price holds for any number.
    """

    most: float | None = None
    ns: Annotated[float, msgspec.Meta(ge=0, le=1e30)] = 0.0
    half_width: Annotated[float, msgspec.Meta(ge=0, le=1e30)] = 0.0


class PredictedSource(msgspec.Struct):
    """Holds one term of derived times: its formula, and the figures in it."""

    part: str
    formula: str
    figures: str


Deviation = Annotated[float, msgspec.Meta(ge=0, le=100)]
Recordings = Annotated[int, msgspec.Meta(ge=0, le=10**9)]


class PredictedSpread(msgspec.Struct):
    """Holds a standard deviation of logarithms, and its degrees of freedom."""

    deviation: Deviation
    freedom: Annotated[float, msgspec.Meta(gt=0, le=1e9)] = 1.0


Influence = Annotated[list[Annotated[float, msgspec.Meta(ge=-1e30, le=1e30)]], msgspec.Meta(max_length=100)]


class PredictedTimes(msgspec.Struct):
    """Holds prices, and how far predictions lay from recordings left out: a standard deviation of logarithms."""

    prices: dict[str, PredictedPrice] = {}
    host: dict[str, PredictedPrice] = {}
    requests: dict[str, PredictedPrice] = {}
    sources: list[PredictedSource] = []
    error: Deviation | None = None
    recordings: Recordings = 0
    noise: PredictedSpread | None = None
    errors: dict[str, PredictedSpread] = {}
    influence: list[Influence] = []


class Predicted(msgspec.Struct):
    """Holds what a recording was predicted from that nothing ran for."""

    calibrated_from: str
    step_times: PredictedTimes
    bounds: bool = False


class ReadByReports(msgspec.Struct):
    """Holds the facts that reports read from what callers add and from the end of a run."""

    hardware: Hardware | msgspec.UnsetType | None = msgspec.UNSET
    workload: dict[str, Any] | msgspec.UnsetType | None = msgspec.UNSET
    close: Close | msgspec.UnsetType = msgspec.UNSET
    predicted: Predicted | msgspec.UnsetType = msgspec.UNSET


_KINDS: dict[str, type[Facts]] = {"complete": Complete, "incomplete": Incomplete}


def first_problem(facts: Any) -> str | None:
    """Describe the first missing or impossible value of `run.json` in one clause; None if there is none."""
    if not isinstance(facts, dict):
        return f"it holds a {type(facts).__name__} and not an object"
    if (version := facts.get("schema_version")) not in READABLE_VERSIONS or isinstance(version, bool):
        return f"schema version {version!r}, this engine_probe reads versions {READABLE_TEXT}"
    status = facts.get("status")
    try:
        msgspec.convert(facts, ReadByReports)
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
    missing = sorted(WRITTEN_TABLES - facts.get("tables", {}).keys())
    return f"$.tables has no {missing[0]}" if status == "complete" and missing else None


def operator_window(text: Any, where: str = "operators") -> OperatorWindow:
    """Return the window that a text such as "20@100" asks for; refuse any other."""
    found = re.fullmatch(r"([0-9]{1,9})@([0-9]{1,9})", text) if isinstance(text, str) else None
    if found is None:
        raise InputError(f"{where} is {text!r}: give STEPS@FIRST, such as 20@100 for 20 steps from step 100 on")
    window = OperatorWindow(*map(int, found.groups()))
    if not 1 <= window.steps <= MOST_PROFILED_STEPS:
        raise InputError(f"{where} is {text!r}: give a window of 1 to {MOST_PROFILED_STEPS} steps")
    return window


def checked_additions(added: dict[str, Any]) -> dict[str, Any]:
    """Return a caller's facts; refuse names that `run.json` uses itself, and values that JSON cannot hold."""
    if taken := sorted(added.keys() & {field.name for field in msgspec.structs.fields(Complete)}):
        raise InputError(f"{taken[0]!r} is a key of run.json itself: give this fact another name")
    for name, value in added.items():
        try:
            json.dumps(value)
        except (TypeError, ValueError) as error:
            raise InputError(f"{name}={value!r} cannot be kept in run.json ({error}): give plain values") from error
        try:
            msgspec.convert({name: value}, ReadByReports)
        except msgspec.ValidationError as error:
            raise InputError(f"{name}={value!r}: reports read its parts ({error}): give a dict of them") from error
    return added
