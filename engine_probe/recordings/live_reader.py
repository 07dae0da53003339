"""Reading a recording while it grows; each call reads only what is new."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from engine_probe.analysis.run.latencies import without_further
from engine_probe.analysis.run.live_latencies import NO_MEDIANS, LiveLatencies, Medians
from engine_probe.record.arrow_files import STREAM_SUFFIX
from engine_probe.record.reader import read_facts

STEP_PARTS = ("schedule", "execute", "update")


class Follower:
    """Reads the batches of one `.arrows` file as they are appended."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_bytes = 0
        self._schema: pa.Schema | None = None

    def new_batches(self) -> list[pa.RecordBatch]:
        """Return complete batches appended since the last call; none if the file does not exist (yet or any more)."""
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
    """Read a message. None at the end of the file, or if the message is not completely written."""
    try:
        return pa.ipc.read_message(source)
    except (EOFError, OSError, pa.ArrowInvalid):
        return None


@dataclass(frozen=True)
class Moment:
    """The state of a growing recording; figures are counted from its beginning unless said otherwise."""

    output_tokens: int
    running: int
    waiting: int  # in the queue, deferred ones included
    kv_share: float
    preemptions: int
    seconds: float
    answered: Medians = NO_MEDIANS
    step_ns: float | None = None  # mean duration of the steps since the last moment
    idle: bool = False  # nothing was left in flight after the last step


class LiveReader:
    """Follows the recording of the running point; a call costs time only for new rows."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._follower = Follower(folder / f"iterations{STREAM_SUFFIX}")
        self._requests = Follower(folder / f"requests{STREAM_SUFFIX}")
        self._latencies = LiveLatencies()
        self._facts: dict[str, Any] = {}
        self._begin_ns = self._output_tokens = self._preemptions = 0
        self._last: dict[str, int] | None = None
        self._step_ns: float | None = None

    def progress(self) -> Moment | None:
        """Return the current state. None as long as there is no row."""
        steps, step_ns = 0, 0
        for batch in self._follower.new_batches():
            if self._last is None:
                self._begin_ns = batch["start_ns"][0].as_py()
                self._facts = read_facts(self._folder)
            self._output_tokens += pc.sum(batch["output_tokens"]).as_py()
            self._preemptions += pc.sum(batch["preempted_requests"]).as_py()
            self._last = batch.slice(batch.num_rows - 1).to_pylist()[0]
            steps += batch.num_rows
            step_ns += sum(pc.sum(batch[f"{part}_ns"]).as_py() for part in STEP_PARTS)
        if steps:
            self._step_ns = step_ns / steps
        if self._last is None:
            return None
        if batches := self._requests.new_batches():
            self._latencies.add(without_further(self._facts, pa.Table.from_batches(batches)))
        running, waiting = self._last["running_requests"], self._last["waiting_requests"]
        waiting += self._last["deferred_requests"]
        return Moment(
            output_tokens=self._output_tokens,
            running=running,
            waiting=waiting,
            kv_share=self._last["kv_blocks_scheduled"] / self._facts["kv"]["blocks"],
            preemptions=self._preemptions,
            seconds=(sum(self._last[f"{part}_ns"] for part in ("start", *STEP_PARTS)) - self._begin_ns) / 1e9,
            answered=self._latencies.medians(),
            step_ns=self._step_ns,
            idle=running + waiting == self._last["finished_requests"],
        )
