"""A recording in the words of `vllm bench`: the JSON that its two commands save, under their names and definitions.

Percentiles interpolate here as theirs do, and an inter-token latency is the gap between two deliveries, however many
tokens the second one carries. What the recording does not hold (texts, the client's queue) is left out; time runs from
the first arrival to the last token of the answered requests.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from engine_probe.analysis.goodput import goodput
from engine_probe.analysis.metrics import ANSWERED
from engine_probe.analysis.slo import Slo
from engine_probe.analysis.tokens import token_times
from engine_probe.errors import InputError
from engine_probe.run import Run

SECOND = 1_000_000_000
Reals = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


def throughput_result(run: Run) -> dict[str, Any]:
    """What `vllm bench throughput --output-json` saves."""
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
    """What `vllm bench serve --save-result` saves; the lists of every request with `detailed`, as there."""
    requests = answered_in_order(run)
    failed = run.requests.num_rows - told_whole(run.requests).num_rows - not_seen_to_begin(run.requests)
    arrival = requests["arrival_ns"].to_numpy()
    ttft_ns = requests["first_token_ns"].to_numpy() - arrival
    latency_ns = requests["last_token_ns"].to_numpy() - arrival
    output = requests["output_tokens"].to_numpy()
    several = output > 1
    request, time_ns = deliveries(run.iterations, requests)
    same = request[1:] == request[:-1]
    itl_ns = np.diff(time_ns)[same]
    seconds = duration_seconds(requests)
    prompt_tokens, output_tokens = int(requests["prompt_tokens"].to_numpy().sum()), int(output.sum())
    result = {
        **asked(run),
        "num_prompts": run.requests.num_rows,
        "duration": seconds,
        "completed": requests.num_rows,
        "failed": failed,
        "total_input_tokens": prompt_tokens,
        "total_output_tokens": output_tokens,
        "request_throughput": requests.num_rows / seconds,
        "request_goodput": goodput(run.requests, seconds, slo).requests_per_s if slo else None,
        "output_throughput": output_tokens / seconds,
        "total_token_throughput": (prompt_tokens + output_tokens) / seconds,
        "latencies": (latency_ns / SECOND).tolist(),
        "max_output_tokens_per_s": most_in_a_second(time_ns - arrival.min()),
        "max_concurrent_requests": most_at_once(arrival - arrival.min(), latency_ns),
    }
    samples = {
        "ttft": ttft_ns / SECOND,
        "tpot": ((latency_ns - ttft_ns) / SECOND)[several] / (output[several] - 1),
        "itl": itl_ns / SECOND,
        "e2el": latency_ns / SECOND,
    }
    for name, sample in samples.items():
        result |= statistics(name, sample)
    if detailed:
        begins = np.flatnonzero(np.diff(request[1:][same])) + 1 if len(itl_ns) else np.empty(0, dtype=np.int64)
        gaps: list[list[float]] = [[] for _ in range(requests.num_rows)]
        for owner, part in zip(np.unique(request[1:][same]), np.split(itl_ns / SECOND, begins), strict=False):
            gaps[owner] = part.tolist()
        result |= {
            "input_lens": requests["prompt_tokens"].to_pylist(),
            "output_lens": output.tolist(),
            "ttfts": samples["ttft"].tolist(),
            "itls": gaps,
            "start_times": (arrival / SECOND).tolist(),
        }
    return result


def told_whole(requests: pa.Table) -> pa.Table:
    """Answered, and seen from their arrival on."""
    times = (requests[name] for name in ("arrival_ns", "first_token_ns", "last_token_ns"))
    known = reduce(pc.and_, map(pc.is_valid, times))
    return requests.filter(pc.and_(known, pc.is_in(requests["finish_reason"], pa.array(ANSWERED))))


def not_seen_to_begin(requests: pa.Table) -> int:
    """Answered, but begun before the probe was attached: their latencies are not known."""
    done = requests.filter(pc.is_in(requests["finish_reason"], pa.array(ANSWERED)))
    return int(done.num_rows - told_whole(requests).num_rows)


def answered_in_order(run: Run) -> pa.Table:
    requests = told_whole(run.requests).sort_by("arrival_ns")
    if not requests.num_rows:
        raise InputError(f"{run.folder} holds no answered request: vllm bench would have no result either")
    return requests


def duration_seconds(requests: pa.Table) -> float:
    return float((pc.max(requests["last_token_ns"]).as_py() - pc.min(requests["arrival_ns"]).as_py()) / SECOND)


def deliveries(iterations: pa.Table, requests: pa.Table) -> tuple[Integers, Integers]:
    """Row of the request and time of each step that brought it tokens, in order."""
    tokens = token_times(iterations, requests)
    request, iteration = tokens["request"].to_numpy(), tokens["iteration"].to_numpy()
    first = np.r_[True, (np.diff(request) != 0) | (np.diff(iteration) != 0)][: len(request)]
    return request[first], tokens["time_ns"].to_numpy()[first]


def asked(run: Run) -> dict[str, Any]:
    """What was asked of the engine, as far as `run.json` tells; null where it does not."""
    name, workload = run.facts["model"]["name"], run.facts.get("workload") or {}
    arrivals = workload.get("arrivals") or {}
    rate = arrivals.get("request_rate")
    return {
        "date": datetime.fromtimestamp(run.facts["clock"]["wall_ns"] / SECOND, UTC).strftime("%Y%m%d-%H%M%S"),
        "endpoint_type": "engine_probe",  # no client and no server lay between
        "backend": "engine_probe",
        "label": None,
        "model_id": name,
        "tokenizer_id": None,
        "request_rate": rate if rate is not None else "inf" if workload else None,
        "burstiness": arrivals.get("burstiness"),
        "max_concurrency": workload.get("max_concurrency") or workload.get("concurrency") or arrivals.get("users"),
    }


def statistics(name: str, seconds: Reals) -> dict[str, float]:
    """Zero without a value, as theirs."""
    ms = (seconds if len(seconds) else np.zeros(1)) * 1000
    return {
        f"mean_{name}_ms": float(ms.mean()),
        f"median_{name}_ms": float(np.median(ms)),
        f"std_{name}_ms": float(ms.std()),
        f"p99_{name}_ms": float(np.percentile(ms, 99)),
    }


def most_in_a_second(since_ns: Integers) -> float:
    """Deliveries in the fullest of the seconds that begin with the first arrival."""
    _, counts = np.unique(since_ns // SECOND, return_counts=True)
    return float(counts.max(initial=0))  # none where the steps that delivered are lost


def most_at_once(since_ns: Integers, latency_ns: Integers) -> int:
    """Requests that were there at some time of the same second."""
    begins, ends = np.sort(since_ns // SECOND), np.sort((since_ns + latency_ns) // SECOND)
    left = np.searchsorted(ends, begins)  # before the second in which each begins
    return int((np.searchsorted(begins, begins, "right") - left).max())
