"""Memory that runs out in earnest: the point is a row that says so and what to lower, and the next one runs."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine_probe import load
from engine_probe.sweep.definition.loader import read_sweep
from engine_probe.sweep.definition.sweep_file import Point, SweepFile, points
from engine_probe.sweep.engine_process import process as engine_lifetime
from engine_probe.sweep.engine_process.messages import Began
from engine_probe.sweep.execution.engine_run import LocalEngines
from engine_probe.sweep.execution.events import Event
from engine_probe.sweep.execution.folders import PointFolders
from engine_probe.sweep.execution.runner import SweepRun
from engine_probe.sweep.results.point_results import PointResult, Row, Unmeasured, finished

pytestmark = pytest.mark.slow  # two engines each

MIB = 1 << 20
# Steps of 60,000 tokens, whose largest tensors take tens of MiB.
SWEEP = """
question = "What if memory runs out?"
[engine]
model = "tiny"
[engine.arguments]
block_size = 32
num_gpu_blocks_override = 4000
max_model_len = 2048
max_num_batched_tokens = 65536
enforce_eager = true
enable_prefix_caching = false
[workload]
input_len = 1000
output_len = 16
hold = false
[axes]
"workload.concurrency" = [1, 60, 2]
"""
SPARE_BYTES = 20 * MIB  # what the large point may take beyond what the small one did
CGROUPS = Path("/sys/fs/cgroup")

# The engine is real; its card, which this machine has not, is full as soon as many run at once.
FULL_CARD = """
import os
os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
import torch
from vllm.v1.worker.gpu_model_runner import GPUModelRunner
step = GPUModelRunner.execute_model
def execute_model(self, scheduled, *more, **named):
    if len(scheduled.num_scheduled_tokens) > 8:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 1.10 GiB free.")
    return step(self, scheduled, *more, **named)
GPUModelRunner.execute_model = execute_model
from engine_probe.sweep.engine_process.worker import main
main()
"""


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The process of every engine that is started."""
    found: list[int] = []
    real = subprocess.Popen

    def popen(command: list[str], **how: Any) -> subprocess.Popen[bytes]:
        process = real(command, **how)
        found.append(process.pid)
        return process

    monkeypatch.setattr(engine_lifetime.subprocess, "Popen", popen)
    return found


def asked(folder: Path, text: str = SWEEP) -> SweepFile:
    (folder / "memory.toml").write_text(text)
    return read_sweep(str(folder / "memory.toml"))


def rows(sweep: SweepFile, out: Path, at_the_second: Callable[[], None] = lambda: None) -> list[Row]:
    found: list[Row] = []

    def listen(event: Event, group: int | None) -> None:
        if event == Began(1):
            at_the_second()
        if isinstance(event, PointResult | Unmeasured):
            found.append(event)

    SweepRun(sweep, out, points(sweep), listen, LocalEngines(), force=False).run()
    return found


def only_the_second_is_lost(found: list[Row], sweep: SweepFile, out: Path) -> str:
    """Why; and nothing that it left passes for a whole point when the sweep is gone on with."""
    assert [type(row) for row in found] == [PointResult, Unmeasured, *[PointResult] * (len(points(sweep)) - 2)]
    assert isinstance(found[1], Unmeasured)
    lost: Point = points(sweep)[1]
    assert finished(PointFolders(out).of(lost), lost) is None
    assert found[1].exit_code == 3
    return found[1].reason


def test_torch_finds_no_memory_in_a_step(tmp_path: Path, engines: list[int]) -> None:
    def limit() -> None:
        pages = int(Path(f"/proc/{engines[-1]}/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + SPARE_BYTES
        resource.prlimit(engines[-1], resource.RLIMIT_AS, (most, most))

    sweep = asked(tmp_path)
    reason = only_the_second_is_lost(rows(sweep, tmp_path, limit), sweep, tmp_path)
    assert reason.startswith(
        "out of memory in the middle of the point (RuntimeError: DefaultCPUAllocator: can't allocate memory: you tried "
    )
    assert "lower max_num_batched_tokens or max_num_seqs" in reason
    recording = load(PointFolders(tmp_path).of(points(sweep)[1]))
    assert recording.status == "incomplete"
    assert "DefaultCPUAllocator" in " ".join(recording.notes)
    assert len(engines) == 2


@pytest.fixture
def small_group() -> Iterator[Path]:
    """A group of processes whose memory may not grow by more than SPARE_BYTES from when they enter it."""
    unified = (CGROUPS / "cgroup.controllers").is_file()
    group = (CGROUPS if unified else CGROUPS / "memory") / "engine_probe-test"
    try:
        group.mkdir()
        (group / ("memory.max" if unified else "memory.limit_in_bytes")).write_text(str(SPARE_BYTES))
    except OSError as error:
        pytest.skip(f"no group of processes with a limit of memory can be made here: {error}")
    yield group
    group.rmdir()


def test_the_kernel_kills_the_engine_for_its_memory(tmp_path: Path, engines: list[int], small_group: Path) -> None:
    def limit() -> None:
        (small_group / "cgroup.procs").write_text(str(engines[-1]))

    sweep = asked(tmp_path)
    reason = only_the_second_is_lost(rows(sweep, tmp_path, limit), sweep, tmp_path)
    assert reason.startswith("the engine's process ended by signal SIGKILL (meanwhile the kernel killed ")
    assert "because memory ran out): its log names no error: lower max_num_batched_tokens or max_num_seqs" in reason
    assert load(PointFolders(tmp_path).of(points(sweep)[1])).status == "cut"


def test_a_card_is_full_in_the_middle_of_a_step(
    tmp_path: Path, engines: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = engine_lifetime.subprocess.Popen
    monkeypatch.setattr(
        engine_lifetime.subprocess,
        "Popen",
        lambda command, **how: watched([sys.executable, "-c", FULL_CARD, command[-1]], **how),
    )
    sweep = asked(tmp_path, SWEEP.replace("[1, 60, 2]", "[1, 60]"))  # that the next point runs is seen above
    reason = only_the_second_is_lost(rows(sweep, tmp_path), sweep, tmp_path)
    assert reason.startswith(
        "out of memory in the middle of the point (OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. "
        "GPU 0 has 1.10 GiB free): lower max_num_batched_tokens or max_num_seqs"
    )
    assert reason.endswith(f"all the engine said is in {tmp_path}/engine.log")
    assert load(PointFolders(tmp_path).of(points(sweep)[1])).status == "incomplete"
    assert len(engines) == 1


def test_a_pool_that_vllm_refuses_is_a_row_and_the_next_engine_starts(tmp_path: Path) -> None:
    axis = '"engine.arguments.num_gpu_blocks_override" = [2000000000, 100]'
    sweep = asked(tmp_path, SWEEP.replace('"workload.concurrency" = [1, 60, 2]', axis))
    refused, measured = rows(sweep, tmp_path)
    assert isinstance(refused, Unmeasured)
    assert refused.reason.startswith("vLLM found too little memory to start tiny: Available memory on node 0")
    assert "mind the KV pool (gpu_memory_utilization, kv_cache_memory_bytes or num_gpu_blocks_ov" in refused.reason
    assert isinstance(measured, PointResult)
