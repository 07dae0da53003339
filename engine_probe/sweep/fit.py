"""What a sweep would do, and whether its KV pool holds it: arithmetic on geometries, nothing is started."""

from __future__ import annotations

import math

from engine_probe.engine.catalogue import catalogue_config, catalogue_names
from engine_probe.errors import InputError
from engine_probe.sweep.plan import Point, SweepFile, points


def show_points(sweep: SweepFile) -> None:
    """One row per point: what it asks of the KV pool, where the pool's size is known before an engine runs."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    found = points(sweep)
    engines = len({point.engine.spec for point in found})
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for title in ("id", "model", "point"):
        table.add_column(title, no_wrap=title != "point")
    for title in ("requests", "tokens in\nand out", "KV\ntokens", "of the\npool"):
        table.add_column(title, justify="right", no_wrap=True)
    for point in found:
        table.add_row(*cells(point))
    console = Console(highlight=False)
    console.print(table)
    plural = "" if engines == 1 else "s"
    console.print(
        f"{len(found)} points on {engines} engine{plural}. How long they take is known once one was measured."
    )


def cells(point: Point) -> list[str]:
    work = point.workload
    each, pool = tokens_each(point), pool_tokens(point)
    asked = None if each is None else each * min(work.at_once, work.requests)
    share = "-" if pool is None or asked is None else f"{asked / pool:.0%}"
    lengths = f"{length(work.input_len)} + {length(work.output_len)}"
    return [point.key, point.engine.model, point.label, f"{work.requests:,}", lengths, length(asked), share]


def length(tokens: object) -> str:
    return f"{tokens:,}" if isinstance(tokens, int) else "-" if tokens is None else "drawn"


def tokens_each(point: Point) -> int | None:
    """What one request holds at its end, in whole blocks where the block size is told; None where it is drawn."""
    work, block = point.workload, point.engine.arguments.get("block_size")
    if not (isinstance(work.input_len, int) and isinstance(work.output_len, int)):
        return None
    each = work.input_len + work.output_len
    return math.ceil(each / block) * block if isinstance(block, int) else each


def pool_tokens(point: Point) -> int | None:
    """The pool's size where the sweep itself tells it."""
    arguments = point.engine.arguments
    blocks, block, given = (
        arguments.get(n) for n in ("num_gpu_blocks_override", "block_size", "kv_cache_memory_bytes")
    )
    if isinstance(blocks, int) and isinstance(block, int):
        return (blocks - 1) * block  # one is vLLM's null block
    per_token = kv_bytes_per_token(point)
    if isinstance(given, int) and per_token is not None:
        return given // per_token
    return None


def kv_bytes_per_token(point: Point) -> int | None:
    from engine_probe.engine.geometry import geometry

    if point.engine.model not in catalogue_names():
        return None
    shape = geometry(catalogue_config(point.engine.model))
    return shape.kv_bytes_per_token(str(point.engine.arguments.get("kv_cache_dtype", "auto")))


def check_fit(found: list[Point]) -> None:
    """Refuse a point of which not even one request fits into the pool: it could never end."""
    for point in found:
        pool, each = pool_tokens(point), tokens_each(point)
        if pool is not None and each is not None and each > pool:
            raise InputError(
                f"{point.label}: one request needs {each:,} KV tokens and the pool holds {pool:,}: raise "
                "num_gpu_blocks_override, or ask for less"
            )
