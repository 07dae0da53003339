"""What each rank's memory is used for, read in the worker once, before the recording begins.

vLLM profiles a GPU before it sizes its KV pool and keeps the results on the worker; the device reports what is in use
now. Two parts are derived from both, so that all parts add up to the total:

    other  = used now - weights - KV pool - graphs - cached    (CUDA context, NCCL, buffers, other programs)
    free   = total - weights - KV pool - graphs - activations - other

`cached` is memory that torch's ordinary pool holds and nobody uses: it serves the activations. A version of vLLM may
lack any name that is read here, and any call may fail: then that figure is null and its reason is stored.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from engine_probe.errors import reason_of
from engine_probe.hook.workers.calls import ask_workers
from engine_probe.hook.workers.model_weights import count_weights
from engine_probe.record.run_json import Loaded, Memory
from kernels_bench.devices.cpu import cpu, host_free_bytes

PARTS = ("weights_bytes", "kv_pool_bytes", "activations_bytes", "graphs_bytes", "other_bytes", "free_bytes")
TOTALS = ("total_bytes", "reserved_bytes", "used_bytes", "nvml_used_bytes", "rss_bytes")
STATM = Path("/proc/self/statm")
ORDINARY_POOL = (0, 0)  # torch's id of the pool that is not for graphs


class FigureMissingError(Exception):
    """Raised with the reason why a figure cannot be read."""


class MemoryFigures:
    """Collects figures with their sources, and the reasons for those that are missing."""

    def __init__(self) -> None:
        self.bytes: dict[str, int] = {}
        self.sources: dict[str, str] = {}
        self.missing: dict[str, str] = {}

    def read(self, name: str, source: str, reading: Callable[[], Any]) -> None:
        """Store what `reading` returns, or why it failed."""
        try:
            self.bytes[name] = int(reading())
        except Exception as error:  # a version of vLLM may lack anything, and the engine must go on
            is_reason = isinstance(error, FigureMissingError)
            self.missing[name] = str(error) if is_reason else reason_of(error)
        else:
            self.sources[name] = source

    def derive(self, name: str, source: str, inputs: tuple[str, ...], formula: Callable[..., int]) -> None:
        """Store the formula's value, unless an input is missing or the value is negative."""

        def value() -> int:
            if missing := [name for name in inputs if name not in self.bytes]:
                raise FigureMissingError(f"it is derived from {', '.join(missing)}, which cannot be told")
            if (result := formula(*(self.bytes[name] for name in inputs))) < 0:
                raise FigureMissingError(f"the other parts exceed the whole by {-result:,} bytes")
            return result

        self.read(name, source, value)

    def row(self, rank: int, device: str, name: str) -> dict[str, Any]:
        """Return the rank's row for `run.json`."""
        figures = {part: self.bytes.get(part) for part in (*TOTALS, *PARTS)}
        return {
            "rank": rank,
            "device": device,
            "name": name,
            **figures,
            "sources": {name: text for name, text in self.sources.items() if name in figures},
            "missing": {name: text for name, text in self.missing.items() if name in figures},
        }


def read_worker(worker: Any) -> dict[str, Any]:
    """Return memory and weights of one worker, in whose process this runs; never raise."""
    worker = getattr(worker, "worker", worker)  # vLLM's wrapper passes on calls, but not all attributes
    unread: list[str] = []

    def read(name: str, reading: Callable[..., dict[str, Any]], *more: Any) -> dict[str, Any] | None:
        try:
            return reading(worker, *more)
        except Exception as error:
            unread.append(f"{name} of rank {getattr(worker, 'rank', '?')}: {reason_of(error)}")
            return None

    loaded = read("weights", count_weights)
    return {"loaded": loaded, "memory": read("memory", memory, loaded), "unread": unread}


def read_all_workers(executor: Any) -> dict[str, Any]:
    """Return what `run.json` holds about memory and weights of every rank; `unread` lists what failed."""
    try:
        ranks = [rank for rank in ask_workers(executor, read_worker) if rank]
    except Exception as error:  # a substitute executor has no workers
        return {"memory": [], "loaded": [], "unread": [reason_of(error)]}
    unread = [reason for rank in ranks for reason in rank["unread"]]
    return {
        "memory": valid_rows([rank["memory"] for rank in ranks if rank["memory"]], Memory, unread),
        "loaded": valid_rows([rank["loaded"] for rank in ranks if rank["loaded"]], Loaded, unread),
        "unread": unread,
    }


def valid_rows(
    rows: list[dict[str, Any]], kind: type[Memory] | type[Loaded], unread: list[str]
) -> list[dict[str, Any]]:
    """Drop the rows that `run.json` cannot hold and list them in `unread`, so that the recording goes on."""
    valid = []
    for row in rows:
        try:
            msgspec.convert(row, kind)
        except msgspec.ValidationError as error:
            unread.append(f"{kind.__name__.lower()} of rank {row['rank']}: {error}")
        else:
            valid.append(row)
    return valid


def memory(worker: Any, loaded: dict[str, Any] | None) -> dict[str, Any]:
    figures = MemoryFigures()
    figures.read("rss_bytes", "resident memory of the worker's process, by the kernel", resident_bytes)
    figures.read("kv_pool_bytes", "the tensors of vLLM's KV cache configuration", lambda: kv_pool_bytes(worker))
    kind: str = worker.device.type
    if kind == "cuda":
        return gpu_memory(worker, figures)
    if kind == "cpu":
        return host_memory(worker, loaded, figures)
    raise FigureMissingError(f"memory of a device of type {kind} is not read")


def resident_bytes() -> int:
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def kv_pool_bytes(worker: Any) -> int:
    return sum(tensor.size for tensor in worker.model_runner.kv_cache_config.kv_cache_tensors)


# ---- a CPU ------------------------------------------------------------------------------------------------------


def host_memory(worker: Any, loaded: dict[str, Any] | None, figures: MemoryFigures) -> dict[str, Any]:
    """Return the row of a rank on a CPU. Other programs share its memory, so more figures are missing."""
    host = cpu()
    figures.read("total_bytes", "the host's memory", lambda: host.memory_bytes)
    figures.read("free_bytes", "the kernel's estimate of what is available", host_free_bytes)
    figures.read("weights_bytes", "counted from the loaded parameters", lambda: weights_bytes(loaded))
    figures.read("reserved_bytes", "gpu_memory_utilization x memory of the NUMA node", lambda: reserved_bytes(worker))
    figures.read("graphs_bytes", "a CPU captures no graphs", lambda: 0)
    figures.missing |= {
        "activations_bytes": "vLLM does not profile activations on a CPU",
        "other_bytes": "the KV pool's untouched pages are not resident, so the process's size does not tell it",
        "nvml_used_bytes": "no GPU",
        "used_bytes": "no GPU",
    }
    return figures.row(int(worker.rank), "cpu", host.name)


def weights_bytes(loaded: dict[str, Any] | None) -> int:
    if loaded is None:
        raise FigureMissingError("the model's weights could not be counted")
    return int(loaded["bytes"])


def reserved_bytes(worker: Any) -> int:
    """Return the memory that gpu_memory_utilization reserves."""
    if worker.cache_config.kv_cache_memory_bytes is not None:
        raise FigureMissingError("kv_cache_memory_bytes gives the pool's size: gpu_memory_utilization reserves nothing")
    requested = getattr(worker, "requested_memory", None)
    return int(worker.requested_cpu_memory if requested is None else requested)


# ---- a GPU ------------------------------------------------------------------------------------------------------


def gpu_memory(worker: Any, figures: MemoryFigures) -> dict[str, Any]:
    """Return the row of a rank on a GPU."""
    import torch

    gpu = torch.cuda.get_device_properties(worker.device)
    free, total = torch.cuda.mem_get_info(worker.device)
    read, derive = figures.read, figures.derive
    # GB10 and other GPUs in one package with the CPU have no memory of their own.
    device = "the host, whose memory the GPU uses," if getattr(gpu, "is_integrated", 0) else "the device,"
    read("total_bytes", f"{device} through CUDA", lambda: total)
    read("used_bytes", f"{device} through CUDA, by all processes", lambda: total - free)
    read("reserved_bytes", "gpu_memory_utilization x total, by vLLM", lambda: reserved_bytes(worker))
    read("weights_bytes", "vLLM: what loading the model took", lambda: worker.model_runner.model_memory_usage)
    read("activations_bytes", "vLLM: the peak of its profiling run", lambda: activation_bytes(worker))
    read("graphs_bytes", "torch: the pool that CUDA graphs were captured into", lambda: graph_bytes(worker))
    if "graphs_bytes" not in figures.bytes:
        reason = figures.missing.pop("graphs_bytes")
        read("graphs_bytes", f"vLLM's estimate ({reason})", lambda: worker.cudagraph_memory_estimate)
    read("cached", "torch", lambda: cached_bytes(worker))
    uuid = str(getattr(gpu, "uuid", "unknown"))
    read("nvml_used_bytes", "NVML, by all processes", lambda: nvml_used(uuid))
    held = ("weights_bytes", "kv_pool_bytes", "graphs_bytes")
    derive(
        "other_bytes",
        "used - weights - KV pool - graphs - what torch keeps for activations",
        ("used_bytes", *held, "cached"),
        lambda used, *parts: used - sum(parts),
    )
    is_profiled = "activations_bytes" in figures.bytes
    derive(
        "free_bytes",
        "total - all parts, activations at their peak"
        if is_profiled
        else "the device now, and what torch keeps: activations come out of it",
        ("total_bytes", *held, *(["activations_bytes"] if is_profiled else []), "other_bytes"),
        lambda whole, *parts: whole - sum(parts),
    )
    return figures.row(int(worker.rank), f"GPU-{uuid}", gpu.name)


def activation_bytes(worker: Any) -> int:
    """Return the peak of vLLM's profiling run, without the estimate for graphs that vLLM adds to it since 0.28."""
    if not hasattr(worker, "peak_activation_memory"):
        raise FigureMissingError("vLLM did not profile, because kv_cache_memory_bytes gives the pool's size")
    peak = worker.peak_activation_memory
    if not hasattr(worker, "total_consumed"):
        return int(peak)
    return int(peak - worker.cudagraph_memory_estimate * estimate_is_applied())


def estimate_is_applied() -> bool:
    from vllm import envs

    return bool(envs.VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS)


def graph_pool() -> Any:
    from vllm.platforms import current_platform

    return type(current_platform)._global_graph_pool  # the instance's property would create a pool


def graph_bytes(worker: Any) -> int:
    if worker.model_config.enforce_eager:
        return 0
    pool = graph_pool()
    if pool is None:
        raise FigureMissingError("vLLM has made no pool for graphs")
    return sum(segment["total_size"] for segment in allocator_segments(worker, tuple(pool)))


def cached_bytes(worker: Any) -> int:
    ordinary = allocator_segments(worker, ORDINARY_POOL)
    return sum(segment["total_size"] - segment["allocated_size"] for segment in ordinary)


def allocator_segments(worker: Any, pool: tuple[int, ...]) -> list[dict[str, Any]]:
    """Return what torch's allocator holds in one of its pools on the worker's GPU."""
    import torch

    index = torch.cuda.current_device() if worker.device.index is None else worker.device.index
    held = torch.cuda.memory_snapshot()
    return [segment for segment in held if segment["device"] == index and segment["segment_pool_id"] == pool]


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
