"""What a trace of forward passes says: steps by what they computed, their wall times and the load they carried."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from engine_probe.analysis.statistics.sample import Sample

PREFILL, DECODE, MIXED = "prefill only", "decode only", "prefill and decode"


@dataclass(frozen=True)
class PassKind:
    """Steps that computed the same kinds of tokens."""

    name: str
    steps: int
    seconds: float
    median_ms: float | None
    p99_ms: float | None
    prefill_tokens: float  # mean of a step
    decode_requests: float
    kv_tokens: float  # read from the cache


@dataclass(frozen=True)
class PassSummary:
    steps: int
    heartbeats: int
    seconds: float  # sum of the steps' wall times
    peak_decode_requests: int
    peak_queued_requests: int
    kinds: tuple[PassKind, ...]


def summarise_passes(table: pa.Table) -> PassSummary:
    """Summarise the records; heartbeats are not steps."""
    wall = table["wall_time"].to_numpy()
    columns = {
        name: table[name].to_numpy() for name in table.column_names if name.startswith(("scheduled_", "queued_"))
    }
    prefills, decodes = columns["scheduled_num_prefill_requests"], columns["scheduled_num_decode_requests"]
    ran = prefills + decodes > 0
    masks = {
        DECODE: (prefills == 0) & (decodes > 0),
        PREFILL: (prefills > 0) & (decodes == 0),
        MIXED: (prefills > 0) & (decodes > 0),
    }
    kv = columns["scheduled_sum_prefill_kv_tokens"] + columns["scheduled_sum_decode_kv_tokens"]
    kinds = []
    for name, mask in masks.items():
        if not mask.any():
            continue
        times = Sample.of(wall[mask] * 1e3)
        median, p99 = times.percentiles((50, 99))
        means = [float(values[mask].mean()) for values in (columns["scheduled_sum_prefill_tokens"], decodes, kv)]
        kinds.append(PassKind(name, int(mask.sum()), float(wall[mask].sum()), median, p99, *means))
    queued = columns["queued_num_prefill_requests"] + columns["queued_num_decode_requests"]
    return PassSummary(
        steps=int(ran.sum()),
        heartbeats=int((~ran).sum()),
        seconds=float(wall[ran].sum()),
        peak_decode_requests=int(np.max(decodes)),
        peak_queued_requests=int(np.max(queued)),
        kinds=tuple(kinds),
    )
