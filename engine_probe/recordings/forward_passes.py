"""NVIDIA Dynamo's forward-pass traces (`dynamo.fpm.trace.v1`): gzip files with a JSON record per step of an engine.

A trace tells batch, queues and wall time of each step that it holds. It has no requests, no blocks and no phases, so
that latencies, KV occupancy and a bottleneck cannot be told from it.
"""

import gzip
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pyarrow as pa

from engine_probe.analysis.forward_passes.passes_summary import PassSummary, summarise_passes
from engine_probe.errors import InputError
from engine_probe.files.safe_read import MOST_DATA_BYTES, regular_size
from engine_probe.notebook_view import NotebookView
from engine_probe.text_format import counted, plain

SCHEMA = "dynamo.fpm.trace.v1"
VERSION = 1
ENDING = ".jsonl.gz"
SEGMENT = re.compile(r"(?P<producer>.+)\.\d+\.jsonl\.gz")
MOST_LINE = 1 << 20  # bytes of a record; Dynamo writes some 600

Count = Annotated[int, msgspec.Meta(ge=0)]
Amount = Annotated[float, msgspec.Meta(ge=0)]


class Scheduled(msgspec.Struct, frozen=True):
    """The batch of a step; the variances are those of populations."""

    num_prefill_requests: Count
    sum_prefill_tokens: Count
    var_prefill_length: Amount
    sum_prefill_kv_tokens: Count
    num_decode_requests: Count
    sum_decode_kv_tokens: Count
    var_decode_kv_tokens: Amount


class Queued(msgspec.Struct, frozen=True):
    """The requests that wait after a step; those of decode were preempted."""

    num_prefill_requests: Count
    sum_prefill_tokens: Count
    var_prefill_length: Amount
    num_decode_requests: Count
    sum_decode_kv_tokens: Count
    var_decode_kv_tokens: Amount


class ForwardPass(msgspec.Struct, frozen=True):
    version: int
    worker_id: str
    dp_rank: Count
    counter_id: Count
    wall_time: Amount  # seconds; 0 in a heartbeat of an idle engine
    scheduled_requests: Scheduled
    queued_requests: Queued


class Source(msgspec.Struct, frozen=True):
    namespace: str = ""
    component: str = ""
    producer_id: str = ""


class Event(msgspec.Struct, frozen=True):
    schema: str
    source: Source
    capture_mode: str
    observed_at_unix_ms: Count
    fpm: ForwardPass


class Record(msgspec.Struct, frozen=True):
    """A line of a trace."""

    timestamp: Count  # ms since the writer began
    event: Event


class ForwardPasses(NotebookView):
    """An opened trace: `table` has a row per record, and `notes` say what is missing."""

    def __init__(self, files: list[Path], table: pa.Table, notes: list[str]) -> None:
        self.files, self.table, self.notes = files, table, notes

    def summary(self) -> PassSummary:
        return summarise_passes(self.table)

    def __repr__(self) -> str:
        ranks = len(set(zip(self.table["worker_id"].to_pylist(), self.table["dp_rank"].to_pylist(), strict=True)))
        return plain(f"<ForwardPasses {self.files[0]}: {self.table.num_rows:,} records of {counted(ranks, 'engine')}>")


@dataclass
class _Gaps:
    """Numbers that each engine's counter left out."""

    last: dict[tuple[str, int], int]
    missing: int = 0

    def see(self, one: ForwardPass) -> None:
        key = (one.worker_id, one.dp_rank)
        before = self.last.get(key)
        if before is not None and one.counter_id > before:
            self.missing += one.counter_id - before - 1
        self.last[key] = one.counter_id


def is_trace(path: Path) -> bool:
    """Tell a forward-pass trace from a folder of results, by its name."""
    return path.is_file() and path.name.endswith(ENDING)


def load_forward_passes(path: Path) -> ForwardPasses:
    """Read a trace with all its segments, which Dynamo numbers before `.jsonl.gz`."""
    files = segments(path)
    rows: list[dict[str, Any]] = []
    gaps, sampled, cut = _Gaps({}), False, False
    for file in files:
        try:
            for event in _events(file):
                rows.append(_row(event))
                gaps.see(event.fpm)
                sampled |= event.capture_mode != "full"
        except EOFError:
            cut = True  # the last segment of a writer that was killed
    if not rows:
        raise InputError(f"{path} holds no forward-pass record: give a trace that Dynamo or `export --to fpm` wrote")
    notes = []
    if sampled:
        notes.append(
            "a sampled trace: Dynamo kept only the latest step of each interval, so sums over steps are unknown"
        )
    if gaps.missing:
        steps = counted(gaps.missing, "step")
        notes.append(f"{steps} between those recorded are missing: their numbers are left out")
    if cut:
        notes.append("the last segment is cut off: its writer did not end")
    return ForwardPasses(files, pa.Table.from_pylist(rows), notes)


def segments(path: Path) -> list[Path]:
    """Return the file and the other segments of its producer, in their order."""
    found = SEGMENT.fullmatch(path.name)
    if not found:
        return [path]
    begin = f"{found['producer']}."
    return sorted(
        other for other in path.parent.iterdir() if other.name.startswith(begin) and SEGMENT.fullmatch(other.name)
    )


def _events(path: Path) -> Iterator[Event]:
    regular_size(path)
    decode = msgspec.json.Decoder(Record).decode
    left = MOST_DATA_BYTES
    try:
        with gzip.open(path, "rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(MOST_LINE), b""), start=1):
                left -= len(line)
                if left < 0:
                    raise InputError(f"{path} unpacks to more than the {MOST_DATA_BYTES:,} bytes that are read")
                if line.strip():
                    yield _checked(decode(line).event, f"{path}:{number}")
    except (gzip.BadGzipFile, zlib.error, OSError) as error:
        raise InputError(f"{path} cannot be read ({error}): give a gzip file of forward-pass records") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}:{number} is no forward-pass record ({error})") from error


def _checked(event: Event, where: str) -> Event:
    if (event.schema, event.fpm.version) != (SCHEMA, VERSION):
        raise InputError(
            f"{where} has schema {event.schema[:40]!r}, version {event.fpm.version}: only {SCHEMA}, version {VERSION}, "
            "is read"
        )
    return event


def _row(event: Event) -> dict[str, Any]:
    one = event.fpm
    return {
        "time_ms": event.observed_at_unix_ms,
        "worker_id": one.worker_id,
        "dp_rank": one.dp_rank,
        "counter_id": one.counter_id,
        "wall_time": one.wall_time,
        **{f"scheduled_{name}": value for name, value in msgspec.structs.asdict(one.scheduled_requests).items()},
        **{f"queued_{name}": value for name, value in msgspec.structs.asdict(one.queued_requests).items()},
    }
