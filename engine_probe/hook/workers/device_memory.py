"""Where each rank's memory went: asked of the worker once, before the recording begins.

vLLM profiles a GPU before it sizes its KV pool and keeps what it found on the worker; the device itself says what is
in use now. From both, so that the parts add up to the whole:

    cached = what torch holds of its ordinary pool and nobody uses: there for activations
    other  = used now - weights - KV pool - graphs - cached    (context, NCCL, buffers, other programs)
    free   = total - weights - KV pool - graphs - activations - other

Every name of vLLM's may be missing in some version, and every question may fail: then that part is null and the
reason is kept beside it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from engine_probe.hook.workers.calls import ask_workers
from engine_probe.hook.workers.model_weights import loaded_model
from engine_probe.record.run_json import Loaded, Memory
from kernels_bench.devices.cpu import cpu, host_free_bytes

PARTS = ("weights_bytes", "kv_pool_bytes", "activations_bytes", "graphs_bytes", "other_bytes", "free_bytes")
BESIDE = ("total_bytes", "reserved_bytes", "used_bytes", "nvml_used_bytes", "rss_bytes")
STATM = Path("/proc/self/statm")
ORDINARY_POOL = (0, 0)  # torch's number of it


class UntoldError(Exception):
    """Why a figure cannot be told."""


class Answers:
    """Figures with their sources, and the reasons for those that are not there."""

    def __init__(self) -> None:
        self.bytes: dict[str, int] = {}
        self.sources: dict[str, str] = {}
        self.missing: dict[str, str] = {}

    def ask(self, name: str, source: str, question: Callable[[], Any]) -> None:
        try:
            self.bytes[name] = int(question())
        except Exception as error:  # the engine goes on, whatever a version lacks
            self.missing[name] = str(error) if isinstance(error, UntoldError) else f"{type(error).__name__}: {error}"
        else:
            self.sources[name] = source

    def derive(self, name: str, source: str, needs: tuple[str, ...], formula: Callable[..., int]) -> None:
        def worked_out() -> int:
            if lacking := [need for need in needs if need not in self.bytes]:
                raise UntoldError(f"it follows from {', '.join(lacking)}, which cannot be told")
            if (value := formula(*(self.bytes[need] for need in needs))) < 0:
                raise UntoldError(f"the other parts exceed the whole by {-value:,} bytes")
            return value

        self.ask(name, source, worked_out)

    def row(self, rank: int, device: str, name: str) -> dict[str, Any]:
        figures = {part: self.bytes.get(part) for part in (*BESIDE, *PARTS)}
        return {
            "rank": rank,
            "device": device,
            "name": name,
            **figures,
            "sources": {name: text for name, text in self.sources.items() if name in figures},
            "missing": {name: text for name, text in self.missing.items() if name in figures},
        }


def look(worker: Any) -> dict[str, Any]:
    """Runs in the worker: its memory, and the model as it holds it. No failure leaves it."""
    worker = getattr(worker, "worker", worker)  # what vLLM wraps around it delegates calls, but not all attributes
    unread: list[str] = []

    def ask(name: str, question: Callable[..., dict[str, Any]], *more: Any) -> dict[str, Any] | None:
        try:
            return question(worker, *more)
        except Exception as error:
            unread.append(f"{name} of rank {getattr(worker, 'rank', '?')}: {type(error).__name__}: {error}")
            return None

    loaded = ask("weights", loaded_model)
    return {"loaded": loaded, "memory": ask("memory", memory, loaded), "unread": unread}


def look_at_all(executor: Any) -> dict[str, Any]:
    """What `run.json` says about memory and weights, rank by rank; `unread` is what could not be."""
    try:
        ranks = [told for told in ask_workers(executor, look) if told]
    except Exception as error:  # a substitute executor has no workers
        return {"memory": [], "loaded": [], "unread": [f"{type(error).__name__}: {error}"]}
    unread = [reason for told in ranks for reason in told["unread"]]
    return {
        "memory": fitting([told["memory"] for told in ranks if told["memory"]], Memory, unread),
        "loaded": fitting([told["loaded"] for told in ranks if told["loaded"]], Loaded, unread),
        "unread": unread,
    }


def fitting(rows: list[dict[str, Any]], kind: type[Memory] | type[Loaded], unread: list[str]) -> list[dict[str, Any]]:
    """Those that `run.json` can hold: a value of a type nobody thought of costs its row, not the recording."""
    kept = []
    for row in rows:
        try:
            msgspec.convert(row, kind)
        except msgspec.ValidationError as error:
            unread.append(f"{kind.__name__.lower()} of rank {row['rank']}: {error}")
        else:
            kept.append(row)
    return kept


def memory(worker: Any, loaded: dict[str, Any] | None) -> dict[str, Any]:
    answers = Answers()
    answers.ask("rss_bytes", "resident memory of the worker's process, by the kernel", resident_bytes)
    answers.ask("kv_pool_bytes", "the tensors of vLLM's KV cache configuration", lambda: pool_bytes(worker))
    kind: str = worker.device.type
    if kind == "cuda":
        return of_card(worker, answers)
    if kind == "cpu":
        return of_host(worker, loaded, answers)
    raise UntoldError(f"memory of a device of type {kind} is not read")


def resident_bytes() -> int:
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def pool_bytes(worker: Any) -> int:
    return sum(tensor.size for tensor in worker.model_runner.kv_cache_config.kv_cache_tensors)


# ---- a processor ----------------------------------------------------------------------------------------------


def of_host(worker: Any, loaded: dict[str, Any] | None, answers: Answers) -> dict[str, Any]:
    """Memory that other programs share: what vLLM does not say is not made up."""
    host = cpu()

    def untold(reason: str) -> Callable[[], int]:
        def refuse() -> int:
            raise UntoldError(reason)

        return refuse

    answers.ask("total_bytes", "the host's memory", lambda: host.memory_bytes)
    answers.ask("free_bytes", "the kernel's estimate of what is available", host_free_bytes)
    answers.ask("weights_bytes", "counted from the loaded parameters", lambda: counted(loaded))
    answers.ask("reserved_bytes", "gpu_memory_utilization x memory of the NUMA node", lambda: reserved(worker))
    answers.ask("graphs_bytes", "a processor captures none", lambda: 0)
    answers.ask("activations_bytes", "", untold("vLLM does not profile activations on a processor"))
    answers.ask(
        "other_bytes",
        "",
        untold(
            "pages of the pool that no request has touched yet are not resident, so that the "
            "rest of the process cannot be told from its size"
        ),
    )
    nvml = untold("no GPU")
    answers.ask("nvml_used_bytes", "", nvml)
    answers.ask("used_bytes", "", nvml)
    return answers.row(int(worker.rank), "cpu", host.name)


def counted(loaded: dict[str, Any] | None) -> int:
    if loaded is None:
        raise UntoldError("the model could not be walked through")
    return int(loaded["bytes"])


def reserved(worker: Any) -> int:
    """As a share of the memory; where the pool's size is given outright no such share is taken."""
    if worker.cache_config.kv_cache_memory_bytes is not None:
        raise UntoldError("kv_cache_memory_bytes gives the pool's size: gpu_memory_utilization reserves nothing")
    found = getattr(worker, "requested_memory", None)
    return int(worker.requested_cpu_memory if found is None else found)


# ---- a card ---------------------------------------------------------------------------------------------------


def of_card(worker: Any, answers: Answers) -> dict[str, Any]:
    import torch

    card = torch.cuda.get_device_properties(worker.device)
    free, total = torch.cuda.mem_get_info(worker.device)
    segments = Segments(worker)
    ask, derive = answers.ask, answers.derive
    ask("total_bytes", "the device, through CUDA", lambda: total)
    ask("used_bytes", "the device, through CUDA, by everybody", lambda: total - free)
    ask("reserved_bytes", "gpu_memory_utilization x total, by vLLM", lambda: reserved(worker))
    ask("weights_bytes", "vLLM: what loading the model took", lambda: worker.model_runner.model_memory_usage)
    ask("activations_bytes", "vLLM: the peak of its profiling run", lambda: activations(worker))
    ask("graphs_bytes", "torch: the pool that CUDA graphs were captured into", lambda: segments.graphs(worker))
    if "graphs_bytes" not in answers.bytes:
        reason = answers.missing.pop("graphs_bytes")
        ask("graphs_bytes", f"vLLM's estimate ({reason})", lambda: worker.cudagraph_memory_estimate)
    ask("cached", "torch", segments.cached)
    uuid = str(getattr(card, "uuid", "unknown"))
    ask("nvml_used_bytes", "NVML, by everybody", lambda: nvml_used(uuid))
    held = ("weights_bytes", "kv_pool_bytes", "graphs_bytes")
    derive(
        "other_bytes",
        "used - weights - KV pool - graphs - what torch keeps for activations",
        ("used_bytes", *held, "cached"),
        lambda used, *parts: used - sum(parts),
    )
    if "activations_bytes" in answers.bytes:
        derive(
            "free_bytes",
            "total - all parts, activations at their peak",
            ("total_bytes", *held, "activations_bytes", "other_bytes"),
            lambda whole, *parts: whole - sum(parts),
        )
    else:
        derive(
            "free_bytes",
            "the device now, and what torch keeps: activations come out of it",
            ("total_bytes", *held, "other_bytes"),
            lambda whole, *parts: whole - sum(parts),
        )
    return answers.row(int(worker.rank), f"GPU-{uuid}", card.name)


def activations(worker: Any) -> int:
    """The peak that profiling found; since 0.28 vLLM adds its estimate for graphs to it where that is applied."""
    if not hasattr(worker, "peak_activation_memory"):
        raise UntoldError("vLLM did not profile, because kv_cache_memory_bytes gives the pool's size")
    peak = worker.peak_activation_memory
    if not hasattr(worker, "total_consumed"):
        return int(peak)
    return int(peak - worker.cudagraph_memory_estimate * estimate_is_applied())


def estimate_is_applied() -> bool:
    from vllm import envs

    return bool(envs.VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS)


def graph_pool() -> Any:
    from vllm.platforms import current_platform

    return type(current_platform)._global_graph_pool  # asking the platform itself would make one


class Segments:
    """What torch's allocator holds on this card, by pool."""

    def __init__(self, worker: Any) -> None:
        self._of = worker.device

    def _mine(self) -> list[dict[str, Any]]:
        import torch

        index = torch.cuda.current_device() if self._of.index is None else self._of.index
        return [segment for segment in torch.cuda.memory_snapshot() if segment["device"] == index]

    def graphs(self, worker: Any) -> int:
        if worker.model_config.enforce_eager:
            return 0
        pool = graph_pool()
        if pool is None:
            raise UntoldError("vLLM has made no pool for graphs")
        return sum(segment["total_size"] for segment in self._mine() if segment["segment_pool_id"] == tuple(pool))

    def cached(self) -> int:
        ordinary = (segment for segment in self._mine() if segment["segment_pool_id"] == ORDINARY_POOL)
        return sum(segment["total_size"] - segment["allocated_size"] for segment in ordinary)


def nvml_used(uuid: str) -> int:
    import pynvml

    pynvml.nvmlInit()
    try:
        try:
            handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
        except pynvml.NVMLError_NotFound:
            handle = pynvml.nvmlDeviceGetHandleByUUID(f"MIG-{uuid}")
        return int(pynvml.nvmlDeviceGetMemoryInfo(handle).used)
    finally:
        pynvml.nvmlShutdown()
