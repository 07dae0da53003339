"""Checks of the machine: system, free memory, other load, AMX, BF16, and where vLLM puts its engine core."""

import os
import platform

from engine_probe.commands.doctor.check_result import FINE, NOTE, PROBLEM, WARNING, Check
from engine_probe.engine.build import MULTIPROCESSING
from engine_probe.engine.cpu.amx import has_amx, request_amx
from engine_probe.engine.cpu.cpu_binding import cpu_build
from engine_probe.engine.cpu.cpu_kv_pool import KvNeed, choose_pool, memory
from engine_probe.engine.cpu.host_memory import available_bytes
from engine_probe.engine.models import smollm2
from engine_probe.engine.models.geometry import GIB, geometry
from engine_probe.errors import UnavailableError
from engine_probe.text_format import figures
from kernels_bench.devices.ceilings import read_ceilings
from kernels_bench.devices.cpu import cpu

LEAST = KvNeed(requests=1, tokens=1)
BUSY_SHARE = 0.5  # of the cores, by the load average of the last minute
SLOWER = 1.5  # times that BF16 takes what float32 does: more than the two differ by where a processor has both


def check_platform() -> list[Check]:
    host = cpu()
    found = f"{platform.system()} {platform.machine()}, {host.cores} cores, {host.memory_bytes / GIB:.1f} GiB memory"
    if platform.system() != "Linux":
        return [Check(PROBLEM, "machine", found, "vLLM runs on Linux only; recordings can still be read here")]
    return [Check(FINE, "machine", found), *check_memory(), *check_load()]


def check_memory() -> list[Check]:
    """Compare what is free with the weights of smollm2 and the KV pool that vLLM demands for it."""
    free, shape = available_bytes(), geometry(smollm2.CONFIG)
    if not cpu_build():
        return [Check(FINE, "free memory", memory(free))]
    weights = memory(int(shape.weights_bytes()))
    try:
        least, _ = choose_pool(shape, {}, LEAST, free)
    except UnavailableError as error:
        to_do = "end other processes that use it, or use --model tiny"
        return [Check(WARNING, "free memory", f"{memory(free)}, too little for smollm2: {error}", to_do)]
    found = f"{memory(free)}; smollm2 takes {weights} for weights and {memory(least)} for KV, besides vLLM itself"
    return [Check(FINE, "free memory", found)]


def check_load() -> list[Check]:
    """Warn when other programs use much of the processor."""
    load, cores = os.getloadavg()[0], cpu().cores
    found = f"{load:.1f} on {cores} cores in the last minute"
    if load > BUSY_SHARE * cores:
        to_do = "other programs are using this machine: wait until they end before measuring"
        return [Check(WARNING, "load average", found, to_do)]
    return [Check(FINE, "load average", found)]


def check_amx() -> list[Check]:
    """Request AMX in this process, as processes that build an engine do. Only engines on the processor use it."""
    if not cpu_build():
        return []
    if not has_amx():
        return [Check(FINE, "AMX", "not available on this processor, and not needed")]
    reason = request_amx()
    if reason is not None:
        to_do = "vLLM's CPU attention would die with SIGILL: use Linux 5.16 or newer, or a container that allows it"
        return [Check(PROBLEM, "AMX", f"the kernel refuses it: {reason}", to_do)]
    to_do = "needed only for your own LLM(..., enforce_eager=True): call torch.cpu._init_amx() first"
    return [Check(FINE, "AMX", "granted on request", to_do)]


def check_bf16() -> list[Check]:
    """Compare the matrix products that `validate` measured on this processor. Nothing where it did not run."""
    if not cpu_build():
        return []
    measured = read_ceilings(cpu().identity)
    bf16, fp32 = (measured.get(f"gemm {name} square") for name in ("bf16", "fp32"))
    if bf16 is None or fp32 is None or not bf16.value:
        return []
    times = fp32.value / bf16.value
    found = f"matrix products measured at {bf16.value / 1e9:,.0f} GFLOP/s, in float32 at {fp32.value / 1e9:,.0f}"
    if times < SLOWER:
        return [Check(FINE, "BF16", found)]
    to_do = f"float32 multiplies {figures(times)} times as fast here: --dtype float32 shortens long prompts"
    return [Check(NOTE, "BF16", found, to_do)]


def check_multiprocessing() -> list[Check]:
    """Say in which process the engine core of a user's own LLM runs."""
    if os.environ.get(MULTIPROCESSING) == "0":
        return [Check(FINE, "engine core", f"in your own process ({MULTIPROCESSING}=0), where Probe(llm) reaches it")]
    to_do = f"needed only for Probe(llm): set {MULTIPROCESSING}=0 before importing vllm"
    return [Check(NOTE, "engine core", "in its own process (vLLM's default)", to_do)]
