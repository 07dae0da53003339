"""Decode attention, which reads the whole KV cache for each new token, and gathering the blocks of a paged cache."""

from typing import Any

import torch
import torch.nn.functional as functional

from kernels_bench.benchmarks.context import Bench, Findings
from kernels_bench.benchmarks.memory_bandwidth import MIB, caches_in_a_buffer, same
from kernels_bench.results import INVALID, Check, Detail, Skipped
from kernels_bench.timing.measure import Work, rate

BLOCK, KV_HEADS, QUERIES_PER_HEAD, HEAD = 16, 8, 4, 128  # a layer of an 8B Llama in vLLM's blocks
BF16_BYTES = 2
TOKEN_BYTES = KV_HEADS * HEAD * BF16_BYTES
CONTEXT = 2048
WANTED_BYTES = 1024 * MIB  # keys and values of all requests together
CHECKED_REQUESTS = 2


def run(bench: Bench) -> Findings:
    size = min(WANTED_BYTES if bench.device.is_cuda else 0, bench.usable_bytes() // 4)
    requests = max(size, caches_in_a_buffer(bench) * bench.device.cache_bytes) // (2 * CONTEXT * TOKEN_BYTES)
    if 4 * requests * 2 * CONTEXT * TOKEN_BYTES > bench.usable_bytes() or not requests:
        reason = f"the KV cache of the test needs {4 * requests * 2 * CONTEXT * TOKEN_BYTES // MIB} MiB: free some"
        yield Skipped("attention", "decode", reason, verdict=INVALID)
        return
    yield from decode(bench, requests)
    yield from gather(bench, requests)


def decode(bench: Bench, requests: int) -> Findings:
    """Measure attention of one new token per request.

    Queries that share a KV head are adjacent, as in kernels for grouped-query attention, so K and V are read once.
    """
    queries = bench.random(requests, KV_HEADS, QUERIES_PER_HEAD, HEAD, dtype=torch.bfloat16)
    keys, values = (bench.random(requests, KV_HEADS, CONTEXT, HEAD, dtype=torch.bfloat16) for _ in range(2))
    results: list[Any] = [None]

    def attend() -> None:
        results[0] = functional.scaled_dot_product_attention(queries, keys, values)

    moved = keys.nbytes + values.nbytes + 2 * queries.nbytes
    samples = bench.measure("decode", Work((attend,), moved))
    attend()
    check = check_attention(*(tensor[:CHECKED_REQUESTS] for tensor in (queries, keys, values, results[0])))
    detail: Detail = {"requests": requests, "context": CONTEXT, "kv_heads": KV_HEADS}
    yield rate("attention", "decode", "B/s", moved, samples, check, detail)


def gather(bench: Bench, requests: int) -> Findings:
    """Measure copying blocks, in the random order of a block table, to a contiguous buffer."""
    blocks = requests * 2 * CONTEXT // BLOCK
    cache = bench.random(blocks, BLOCK * KV_HEADS * HEAD, dtype=torch.bfloat16)
    table = torch.randperm(blocks, device=bench.torch_device)
    contiguous = torch.empty_like(cache)

    def collect() -> object:
        return torch.index_select(cache, 0, table, out=contiguous)

    moved = 2 * cache.nbytes + table.nbytes
    samples = bench.measure("paged gather", Work((collect,), moved))
    back = torch.argsort(table)
    check = same(contiguous[back], cache, "the blocks")
    yield rate("attention", "paged gather", "B/s", moved, samples, check, {"blocks": blocks, "block": BLOCK})


def check_attention(queries: Any, keys: Any, values: Any, result: Any) -> Check:
    """Compare with double precision. The bound: the output is a mean of values, so with M = Σ p·|v|

    |error| ≤ (2·u + 2·e + length·2⁻²³)·M, where u = 2⁻⁸ stands once for weights and once for the output rounded to
    BF16, e = d·2⁻²³·scale·|q||k| is the error of a score (it enters the weight and the sum), and the last is the
    float32 sum over the context. Second-order terms are an eighth of u at most and have their own eighth.
    """
    q, k, v = queries.double(), keys.double(), values.double()
    scale = HEAD**-0.5
    weights = torch.softmax(q @ k.transpose(-1, -2) * scale, dim=-1)
    exact, mean = weights @ v, weights @ v.abs()
    score_error = float((q.abs() @ k.abs().transpose(-1, -2)).max()) * scale * HEAD * 2.0**-23
    unit = float(torch.finfo(torch.bfloat16).eps / 2)
    allowed = (2.125 * unit + 2 * score_error + k.shape[-2] * 2.0**-23) * mean
    error = (result.double() - exact).abs()
    worst = float((error / allowed).max()) if bool(torch.isfinite(error).all()) else float("inf")
    return Check(worst <= 1, "float64", result.numel(), worst)
