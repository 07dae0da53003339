"""A recording as the JSON that `vllm bench throughput` and `vllm bench serve` save, by their definitions.

Latencies and percentiles are those of the summary, which uses the same definitions. What a recording does not hold
(texts, the client's queue) is left out. The duration is from the first arrival to the last token of answered requests.
"""

from datetime import UTC, datetime
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine_probe.analysis.run.goodput import goodput
from engine_probe.analysis.run.latencies import LATENCIES, answered
from engine_probe.analysis.run.slo import Slo
from engine_probe.analysis.run.token_times import deliveries, delivery_gaps
from engine_probe.analysis.statistics.arrays import Integers
from engine_probe.analysis.statistics.sample import Sample
from engine_probe.errors import InputError
from engine_probe.recordings.run import Run

SECOND = 1_000_000_000
LATENCY_NAMES = ("TTFT", "TPOT", "ITL", "E2EL")


def throughput_result(run: Run) -> dict[str, Any]:
    """Return what `vllm bench throughput --output-json` saves."""
    requests = answered_in_order(run)
    seconds = duration_seconds(requests)
    tokens = pc.sum(pc.add(requests["prompt_tokens"], requests["output_tokens"])).as_py()
    return {
        "model_id": run.facts["model"]["name"],
        "elapsed_time": seconds,
        "num_requests": requests.num_rows,
        "total_num_tokens": tokens,
        "requests_per_second": requests.num_rows / seconds,
        "tokens_per_second": tokens / seconds,
    }


def serve_result(run: Run, detailed: bool, slo: Slo | None = None) -> dict[str, Any]:
    """Return what `vllm bench serve --save-result` saves; `detailed` adds the lists of every request, as there."""
    requests = answered_in_order(run)
    asked = run.measured_requests
    arrival = requests["arrival_ns"].to_numpy()
    latency_ns = requests["last_token_ns"].to_numpy() - arrival
    output = requests["output_tokens"].to_numpy()
    request, time_ns = deliveries(run.iterations, requests)
    seconds = duration_seconds(requests)
    prompt_tokens, output_tokens = int(requests["prompt_tokens"].to_numpy().sum()), int(output.sum())
    result = {
        **settings(run),
        "num_prompts": asked.num_rows,
        "duration": seconds,
        "completed": requests.num_rows,
        "failed": asked.num_rows - answered(asked).num_rows,
        "total_input_tokens": prompt_tokens,
        "total_output_tokens": output_tokens,
        "request_throughput": requests.num_rows / seconds,
        "request_goodput": goodput(asked, seconds, slo, run.profiled_span).requests_per_s if slo else None,
        "output_throughput": output_tokens / seconds,
        "total_token_throughput": (prompt_tokens + output_tokens) / seconds,
        "latencies": (latency_ns / SECOND).tolist(),
        "max_output_tokens_per_s": most_in_a_second(time_ns - arrival.min()),
        "max_concurrent_requests": most_in_flight(arrival - arrival.min(), latency_ns),
    }
    for latency in LATENCIES:
        if latency.name in LATENCY_NAMES:
            result |= statistics(latency.name.lower(), latency.sample_ns(run.iterations, requests, run.profiled_span))
    if detailed:
        owners, gaps_ns = delivery_gaps(request, time_ns)
        starts = np.searchsorted(owners, np.arange(1, requests.num_rows))
        result |= {
            "input_lens": requests["prompt_tokens"].to_pylist(),
            "output_lens": output.tolist(),
            "ttfts": ((requests["first_token_ns"].to_numpy() - arrival) / SECOND).tolist(),
            "itls": [gaps.tolist() for gaps in np.split(gaps_ns / SECOND, starts)],
            "start_times": (arrival / SECOND).tolist(),
        }
    return result


def with_all_times(requests: pa.Table) -> pa.Table:
    """Return the requests whose arrival, first and last token are known."""
    times = (requests[name] for name in ("arrival_ns", "first_token_ns", "last_token_ns"))
    return requests.filter(reduce(pc.and_, map(pc.is_valid, times)))


def not_seen_to_begin(requests: pa.Table) -> int:
    """Count the answered requests without known latencies, because they started before the probe attached."""
    all_answered = answered(requests)
    return int(all_answered.num_rows - with_all_times(all_answered).num_rows)


def answered_in_order(run: Run) -> pa.Table:
    """Return the answered requests with known latencies, in the order of arrival."""
    requests = with_all_times(answered(run.measured_requests)).sort_by("arrival_ns")
    if not requests.num_rows:
        raise InputError(f"{run.folder} holds no answered request: vllm bench would have no result either")
    return requests


def duration_seconds(requests: pa.Table) -> float:
    return float((pc.max(requests["last_token_ns"]).as_py() - pc.min(requests["arrival_ns"]).as_py()) / SECOND)


def settings(run: Run) -> dict[str, Any]:
    """Return the settings that vllm bench saves; null where `run.json` does not hold them."""
    name, workload = run.facts["model"]["name"], run.facts.get("workload") or {}
    arrivals = workload.get("arrivals") or {}
    rate = arrivals.get("request_rate")
    return {
        "date": datetime.fromtimestamp(run.facts["clock"]["wall_ns"] / SECOND, UTC).strftime("%Y%m%d-%H%M%S"),
        "endpoint_type": "engine_probe",  # there is no client or server
        "backend": "engine_probe",
        "label": None,
        "model_id": name,
        "tokenizer_id": None,
        "request_rate": rate if rate is not None else "inf" if workload else None,
        "burstiness": arrivals.get("burstiness"),
        "max_concurrency": workload.get("max_concurrency") or workload.get("concurrency") or arrivals.get("users"),
    }


def statistics(name: str, ns: Sample) -> dict[str, float]:
    """Return four statistics as vllm bench does: zero without values, and a p99 of any number of them."""
    median, p99 = ns.interpolated((50, 99)) if ns.count else (0.0, 0.0)
    return {
        f"mean_{name}_ms": (ns.mean() or 0.0) / 1e6,
        f"median_{name}_ms": float(median) / 1e6,
        f"std_{name}_ms": (ns.deviation() or 0.0) / 1e6,
        f"p99_{name}_ms": float(p99) / 1e6,
    }


def most_in_a_second(since_ns: Integers) -> float:
    """Return the most tokens delivered in one second, with seconds counted from the first arrival."""
    _, counts = np.unique(since_ns // SECOND, return_counts=True)
    return float(counts.max(initial=0))  # zero if the steps that delivered tokens are lost


def most_in_flight(since_ns: Integers, latency_ns: Integers) -> int:
    """Return the most requests that were in flight at some time of the same second."""
    starts, ends = np.sort(since_ns // SECOND), np.sort((since_ns + latency_ns) // SECOND)
    num_left = np.searchsorted(ends, starts)  # requests that ended before the second in which each starts
    return int((np.searchsorted(starts, starts, "right") - num_left).max())
