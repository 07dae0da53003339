"""Reading a recording while it grows: only what is new, each time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from engine_probe.analysis.run.live_latencies import NO_MEDIANS, LiveLatencies, Medians
from engine_probe.record.arrow_files import STREAM_SUFFIX
from engine_probe.record.reader import read_facts

STEP_PARTS = ("schedule", "execute", "update")


class Follower:
    """The batches of one `.arrows` file as they are appended."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_bytes = 0
        self._schema: pa.Schema | None = None

    def new_batches(self) -> list[pa.RecordBatch]:
        """Whole batches that came since the last call; none while there is no file, or no longer."""
        try:
            source = pa.OSFile(str(self._path))
        except FileNotFoundError:
            return []
        batches = []
        with source:
            source.seek(self._read_bytes)
            while message := whole_message(source):
                if self._schema is None:
                    self._schema = pa.ipc.read_schema(message)
                else:
                    batches.append(pa.ipc.read_record_batch(message, self._schema))
                self._read_bytes = source.tell()
        return batches


def whole_message(source: pa.NativeFile) -> pa.Message | None:
    """None at the end, and where the writer is in the middle of one."""
    try:
        return pa.ipc.read_message(source)
    except (EOFError, OSError, pa.ArrowInvalid):
        return None


@dataclass(frozen=True)
class Moment:
    """How far a recording is; every figure is counted in it, from its beginning on where nothing else is said."""

    output_tokens: int
    running: int
    waiting: int  # in the queue, the deferred among them
    kv_share: float
    preemptions: int
    seconds: float
    answered: Medians = NO_MEDIANS
    step_ns: float | None = None  # mean duration of the steps that came since the moment before


class LiveReader:
    """Follows the recording of the running point; each call costs what is new in it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._follower = Follower(folder / f"iterations{STREAM_SUFFIX}")
        self._requests = Follower(folder / f"requests{STREAM_SUFFIX}")
        self._latencies = LiveLatencies()
        self._blocks: int | None = None
        self._begin_ns = self._output_tokens = self._preemptions = 0
        self._last: dict[str, int] | None = None
        self._step_ns: float | None = None

    def progress(self) -> Moment | None:
        """None as long as there is no row."""
        steps, step_ns = 0, 0
        for batch in self._follower.new_batches():
            if self._last is None:
                self._begin_ns = batch["start_ns"][0].as_py()
                self._blocks = read_facts(self._folder)["kv"]["blocks"]
            self._output_tokens += pc.sum(batch["output_tokens"]).as_py()
            self._preemptions += pc.sum(batch["preempted_requests"]).as_py()
            self._last = batch.slice(batch.num_rows - 1).to_pylist()[0]
            steps += batch.num_rows
            step_ns += sum(pc.sum(batch[f"{part}_ns"]).as_py() for part in STEP_PARTS)
        if steps:
            self._step_ns = step_ns / steps
        if batches := self._requests.new_batches():
            self._latencies.add(pa.Table.from_batches(batches))
        if self._last is None or self._blocks is None:
            return None
        return Moment(
            output_tokens=self._output_tokens,
            running=self._last["running_requests"],
            waiting=self._last["waiting_requests"] + self._last["deferred_requests"],
            kv_share=self._last["kv_blocks_scheduled"] / self._blocks,
            preemptions=self._preemptions,
            seconds=(_step_end(self._last) - self._begin_ns) / 1e9,
            answered=self._latencies.medians(),
            step_ns=self._step_ns,
        )


def _step_end(row: dict[str, int]) -> int:
    return row["start_ns"] + sum(row[f"{part}_ns"] for part in STEP_PARTS)
