"""How the engines of a sweep divide the memory of a machine without GPUs: weights, and the KV pool beside them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rich.console import Console

from engine_probe.engine.build import model_config, model_geometry
from engine_probe.engine.cpu.cpu_kv_pool import CpuPool, foreseen_pool, pool_of_share
from engine_probe.engine.cpu.host_memory import available_bytes, memory_nodes
from engine_probe.engine.engine_spec import EngineSpec
from engine_probe.engine.memory_model import Term, weights_term
from engine_probe.engine.models.geometry import BYTES
from engine_probe.engine.parallelism import rank_count
from engine_probe.errors import EngineProbeError, InputError
from engine_probe.report.renderers.plain_table import plain_table
from engine_probe.sweep.definition.kv_demand import need_of_all
from engine_probe.sweep.definition.sweep_file import Point, apart
from engine_probe.sweep.preflight.gpu_memory import engine_names
from engine_probe.sweep.preflight.memory_fit import NULL_EXECUTOR
from engine_probe.text_format import byte_size, model_name
from kernels_bench.devices.cpu import cpu


class HostMemory(NamedTuple):
    """What one engine takes of this machine's memory."""

    weights: Term  # of one rank; its size is None where the executor loads none
    pool: CpuPool | None  # of one rank; None where vLLM decides it
    ranks: int
    refusal: str | None  # why such an engine cannot start

    @property
    def pool_tokens(self) -> int | None:
        return self.pool.tokens if self.pool and not self.pool.at_most else None

    @property
    def most_pool_tokens(self) -> int | None:
        return self.pool.tokens if self.pool else None


def host_memories(found: Sequence[Point]) -> dict[EngineSpec, HostMemory]:
    """Return the memory of each engine whose model is known here; twins take none."""
    known = {}
    alone = [point for point in apart(found) if point.engine.twin is None]
    beside = {part.engine.spec: len(point.engines) for point in found for part, _ in point.parts}
    for spec in dict.fromkeys(point.engine.spec for point in alone):
        points = [point for point in alone if point.engine.spec == spec]
        if (memory := host_memory(spec, points, beside[spec])) is not None:
            known[spec] = memory
    return known


def host_memory(spec: EngineSpec, points: Sequence[Point], engines_here: int) -> HostMemory | None:
    """Divide the memory for one engine; `points` are all that it measures. None for a model that is not known here."""
    shape, ranks = model_geometry(spec.model), rank_count(spec.arguments)
    if shape is None or str(spec.arguments.get("dtype", "auto")) not in ("auto", *BYTES):
        return None
    try:
        weights = weights_term(shape, spec.arguments)
    except InputError:
        return None
    if spec.arguments.get("distributed_executor_backend") == NULL_EXECUTOR:
        weights = Term("weights", None, "none are loaded")
    if (weights.size or 0.0) * ranks * engines_here > cpu().memory_bytes:
        return HostMemory(weights, None, ranks, "no room: the weights take more than this machine's memory")
    try:
        free = available_bytes(ranks * engines_here)
        config = model_config(spec.model)
        pool = foreseen_pool(config, spec.arguments, need_of_all(points), free)
        pool = pool or pool_of_share(config, spec.arguments, weights.size or 0.0, memory_nodes())
    except EngineProbeError as error:
        return HostMemory(weights, None, ranks, str(error))
    return HostMemory(weights, pool, ranks, None)


def show_host_memory(known: Mapping[EngineSpec, HostMemory], host_bytes: float, console: Console) -> None:
    """Print what each engine takes of this machine's memory, and what the figures rest on."""
    if not known:
        return
    table = plain_table()
    for number, title in enumerate(("engine", "weights", "KV pool", "KV pool,\ntokens")):
        table.add_column(title, justify="right" if number else "left", no_wrap=bool(number))
    for name, memory in zip(engine_names([*known]), known.values(), strict=True):
        size, pool = memory.weights.size, memory.pool
        most = "≤ " if pool and pool.at_most else ""
        table.add_row(
            name,
            "-" if size is None else byte_size(size),
            "-" if pool is None else f"{most}{byte_size(pool.bytes)}",
            "-" if pool is None else f"{most}{pool.tokens:,}",
        )
    ranks = {memory.ranks for memory in known.values()}
    each = "" if ranks == {1} else f" of each of {max(ranks)} ranks" if len(ranks) == 1 else " of each rank"
    console.print(f"\nMemory{each}, of this machine's {byte_size(host_bytes)}, before the engine starts:")
    console.print(table)
    for line in explanations(known):
        console.print(line, soft_wrap=True)


def explanations(known: Mapping[EngineSpec, HostMemory]) -> list[str]:
    """Return the derivation of each weight and pool once, with the models that it is of where there are several."""
    models = len({spec.model for spec in known}) > 1
    lines = []
    for spec, memory in known.items():
        of = f" of {model_name(spec.model)}" if models else ""
        pool = memory.pool.reason if memory.pool else memory.refusal or "as large as vLLM makes it"
        lines += [f"Weights{of}: {memory.weights.derivation}.", f"KV pool{of}: {pool}."]
    found = list(dict.fromkeys(lines))
    pools = [line for line in found if line.startswith("KV pool") and "num_gpu_blocks_override" in line]
    return [line for line in found if line not in pools] if len(pools) > 1 else found
