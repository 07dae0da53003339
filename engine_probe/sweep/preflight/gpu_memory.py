"""How the engines of a sweep divide the memory of a GPU: of this machine's, or of one that is only named."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from engine_probe.analysis.step.ceilings import distinct_doubts
from engine_probe.engine.build import model_config, model_geometry
from engine_probe.engine.engine_spec import EngineSpec
from engine_probe.engine.memory_model import BLOCK, RankMemory, memory_of_rank
from engine_probe.engine.models.geometry import GIB
from engine_probe.engine.twin.kernels.measured_kernels import read_kernels
from engine_probe.errors import InputError
from engine_probe.report.renderers.plain_table import plain_table
from engine_probe.sweep.definition.kv_demand import longest
from engine_probe.sweep.definition.sweep_file import Point, apart
from engine_probe.sweep.preflight.duration_estimate import SMALL_BYTES, DeviceSpeed
from engine_probe.sweep.preflight.memory_fit import pool_tokens
from engine_probe.text_format import model_name
from kernels_bench.devices.cpu import cpu
from kernels_bench.devices.specifications import Specification, specification_of, specifications

FORMATS = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}  # of a datasheet, and vLLM's words
MEMORY_TESTS = ("read", "copy", "triad")


class GpuMemory(NamedTuple):
    name: str
    memory_bytes: float
    speed: DeviceSpeed | None = None  # by its datasheet; None: as measured here
    doubts: tuple[str, ...] = ()  # about its memory
    link_bytes_per_second: float | None = None  # to other GPUs, in one direction; None: not known


def named_gpu(name: str, refusal: str = "") -> GpuMemory:
    """Return a GPU of the table of specifications, or the one that a report of measured kernels is of.

    `refusal` begins the sentence on one that is not in the table.
    """
    if name.endswith(".json"):
        return measured_gpu(Path(name), f"--device {name}")
    sized = {alias.removeprefix("NVIDIA "): row for row in specifications() for alias in row.names if row.memory_gib}
    short = [row for alias, row in sized.items() if alias.lower().startswith(f"{name.lower()} ")]
    row = specification_of(name) or next(iter(short), None)  # "H100": the first of its kind
    if row is None or row.memory_gib is None:
        near = difflib.get_close_matches(name.removeprefix("NVIDIA "), sized, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sized)}"
        refusal = refusal or f'the memory of a GPU "{name}" is not known here'
        raise InputError(f"{refusal}: {hint}")
    products = {FORMATS[short]: rate * 1e12 for short, rate in row.tera.items() if short in FORMATS}
    title = row.names[0].removeprefix("NVIDIA ")
    doubts = (f"no document confirms the {row.memory_gib:g} GiB of {title}",) if "memory_gib" in row.unconfirmed else ()
    speed = DeviceSpeed(
        row.memory_gb_per_s * 1e9, (), products, f"the datasheet of {title}", SMALL_BYTES
    )  # no GPU's cache is larger
    return GpuMemory(title, row.memory_gib * GIB, speed, doubts, link(row))


def measured_gpu(path: Path, name: str) -> GpuMemory:
    """Return the device of a report with the rates that were measured of it."""
    kernels = read_kernels(path, name)
    read = kernels.figure("memory", *MEMORY_TESTS)
    if read is None:
        raise InputError(f"{name} did not measure the bandwidth of its memory: run `engine_probe validate --json FILE`")
    found = {FORMATS[short]: kernels.figure("gemm", f"{short} square", f"{short} best shape") for short in FORMATS}
    products = {dtype: measured for dtype, measured in found.items() if measured is not None}
    links = [measured.value for _, measured in kernels.rows("p2p", "one way")]
    title = f"{kernels.device.name} (measured)"
    reasons = distinct_doubts(doubt for each in (read, *products.values()) for doubt in each.doubts)
    doubts = (f"rates of {title} are those of {path}{': ' if reasons else ''}{'; '.join(reasons)}",)
    rates = {dtype: measured.value for dtype, measured in products.items()}
    speed = DeviceSpeed(read.value, (), rates, f"the report {path}")
    return GpuMemory(title, float(kernels.device.memory_bytes), speed, doubts, min(links, default=None))


def link(row: Specification) -> float | None:
    """Return the bytes per second that a GPU sends others: over NVLink, which makers count in both directions, or PCIe.

    None if the table has neither.
    """
    return row.nvlink_gb_per_s * 1e9 / 2 if row.nvlink_gb_per_s else row.ceiling("pcie", "to card")


def smallest_gpu(gpus: Sequence[Mapping[str, Any]]) -> GpuMemory | None:
    """Return the GPU with the least memory; one without memory of its own uses the host's."""
    held = [GpuMemory(str(gpu["name"]), float(gpu["memory_bytes"] or cpu().memory_bytes)) for gpu in gpus]
    return min(held, key=lambda gpu: gpu.memory_bytes, default=None)


def memory_on(gpu: GpuMemory, point: Point) -> RankMemory | None:
    """Return how an engine divides a GPU. None for a twin, unknown models and changed shapes."""
    spec = point.engine.spec
    if model_geometry(spec.model) is None or "hf_overrides" in spec.arguments or point.engine.twin is not None:
        return None
    least, config = longest(point.workload) or 1, model_config(spec.model)
    found = memory_of_rank(config, spec.arguments, gpu.name, gpu.memory_bytes, least)
    return None if found is None else replace(found, given_tokens=pool_tokens(point))


def memories(gpu: GpuMemory | None, found: Sequence[Point]) -> dict[EngineSpec, RankMemory]:
    """Return the memory of each engine for which it is known."""
    each = {} if gpu is None else {point.engine.spec: memory_on(gpu, point) for point in apart(found)}
    return {spec: memory for spec, memory in each.items() if memory is not None}


def check_memory(gpu: GpuMemory | None, found: Sequence[Point]) -> None:
    """Refuse an engine that cannot start: its weights, its workspace and one request do not fit beside each other."""
    alone = apart(found)
    for spec, memory in memories(gpu, found).items():
        if memory.refusal:
            point = next(point for point in alone if point.engine.spec == spec)
            raise InputError(f"{point.label}: {spec.model} cannot start: {memory.refusal}")


def show_memory(known: Mapping[EngineSpec, RankMemory], console: Console) -> None:
    """Print how each engine divides its GPU, and what the figures rest on."""
    if not known:
        return
    first = next(iter(known.values()))
    columns = ("engine", "vLLM's\nshare", "weights", "work-\nspace", "KV\npool", "KV pool,\ntokens", "one\nrequest")
    table = plain_table()
    for number, title in enumerate(columns):
        table.add_column(title, justify="right" if number else "left", no_wrap=bool(number))
    for name, memory in zip(engine_names([*known]), known.values(), strict=True):
        sizes = (memory.budget, memory.weights.size, memory.activations_and_workspace.size, memory.pool_bytes)
        cells = [f"{(size or 0.0) / GIB:.{1 if (size or 0.0) >= GIB / 10 else 3}f}" for size in sizes]
        about = "~" if memory.given_tokens is None else ""
        cells[2], cells[3] = f"~{cells[2]}", f"{about}{cells[3]}" if memory.pool_bytes > 0 else "none"
        table.add_row(name, *cells, f"{about}{memory.pool_tokens:,}", f"{(memory.kv.size or 0.0) / GIB:.1f}")
    console.print(f"\nMemory of one {first.device} of {first.device_bytes / GIB:.1f} GiB, in GiB:", soft_wrap=True)
    console.print(table)
    for line in explanations(first):
        console.print(line, soft_wrap=True)


def explanations(memory: RankMemory) -> Iterator[str]:
    for term in memory.terms:
        yield f"{term.name[0].upper()}{term.name[1:]}: {term.derivation}{' (estimated)' if term.is_estimate else ''}."


def engine_names(specs: Sequence[EngineSpec]) -> list[str]:
    """Name each engine by what distinguishes it: its model, and the arguments that differ."""
    arguments = {name: {str(spec.arguments.get(name)) for spec in specs} for spec in specs for name in spec.arguments}
    varying = [name for name, values in arguments.items() if len(values) > 1]
    models = len({spec.model for spec in specs}) > 1
    named = [
        ", ".join(
            [*[model_name(spec.model)] * models, *(f"{name} {spec.arguments.get(name, '-')}" for name in varying)]
        )
        for spec in specs
    ]
    return [name or model_name(spec.model) for name, spec in zip(named, specs, strict=True)]


def block_size(point: Point, gpu: GpuMemory | None) -> int:
    """Return the tokens of a KV block. 1 where they are not known."""
    given = point.engine.arguments.get("block_size")
    return given if isinstance(given, int) else BLOCK if gpu is not None else 1
