"""The JSON of `vllm bench` from a recording, checked by hand and against vLLM's own computation."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from engine_probe.analysis.run.slo import Slo
from engine_probe.commands import report
from engine_probe.commands.export import command
from engine_probe.errors import InputError
from engine_probe.export.vllm_bench import serve_result, throughput_result
from engine_probe.recordings.run import Run, load
from tests.support.recordings.run_folders import MS, facts, ran, write_run
from tests.support.recordings.small_tables import table


def row(number: int, arrival: int, tokens_at: list[int], **more: Any) -> dict[str, Any]:
    """A request whose tokens came with these iterations; iteration i ends at 1000 i + 500 ms."""
    times = [(1000 * iteration + 500) * MS for iteration in tokens_at]
    return {
        "request_id": f"r{number}",
        "arrival_ns": arrival * MS,
        "first_token_ns": times[0],
        "last_token_ns": times[-1],
        "finished_ns": times[-1],
        "prompt_tokens": 10,
        "output_tokens": len(tokens_at),
        "finish_reason": "length",
        "run_starts": [tokens_at[0]],
        "run_lengths": [len(tokens_at)],
        **more,
    }


def made(path: Path, requests: list[dict[str, Any]]) -> Run:
    steps = [{"iteration": i, "start_ns": 1000 * i * MS, "execute_ns": 500 * MS, "output_tokens": 1} for i in range(6)]
    return load(
        write_run(path / "run", {"iterations": table("iterations", steps), "requests": table("requests", requests)})
    )


def test_by_hand(tmp_path: Path) -> None:
    """Asked at 0 and at 0.1 s; tokens at 0.5, 1.5, 2.5 s and at 1.5, 2.5 s. The third is aborted, the fourth unseen."""
    gone = {"request_id": "gone", "arrival_ns": 0, "finished_ns": 9, "finish_reason": "abort"}
    unseen = row(3, 0, [0, 1]) | {"arrival_ns": None}
    found = serve_result(made(tmp_path, [row(0, 0, [0, 1, 2]), row(1, 100, [1, 2]), gone, unseen]), detailed=True)
    assert (found["duration"], found["completed"], found["failed"]) == (2.5, 2, 1)
    assert (found["total_input_tokens"], found["total_output_tokens"], found["output_throughput"]) == (20, 5, 2.0)
    assert found["ttfts"] == [0.5, 1.4]
    assert found["itls"] == [[1.0, 1.0], [1.0]]
    assert (found["input_lens"], found["output_lens"], found["latencies"]) == ([10, 10], [3, 2], [2.5, 2.4])
    assert (found["median_ttft_ms"], found["p99_ttft_ms"]) == pytest.approx((950, 500 + 0.99 * 900))
    assert (found["max_output_tokens_per_s"], found["max_concurrent_requests"]) == (2, 2)


def test_requests_that_only_held_the_load_are_left_out(tmp_path: Path) -> None:
    further = row(1, 0, [0, 1], request_id="further-1"), row(2, 0, [0], request_id="further-2", finish_reason="abort")
    run = made(tmp_path, [row(0, 0, [0, 1, 2]), *further])
    run.facts["workload"] = {"hold": True}
    found = serve_result(run, detailed=False)
    assert (found["num_prompts"], found["completed"], found["failed"]) == (1, 1, 0)


def test_report_and_export_agree_on_every_figure(tmp_path: Path) -> None:
    """First tokens after 0.5 and 1.4 s: a median between the two, and the same one wherever it is told."""
    run = made(tmp_path, [row(0, 0, [0, 1, 2]), row(1, 100, [1, 2, 5])])
    exported, figures = tmp_path / "vllm.json", tmp_path / "report.json"
    invoke = CliRunner().invoke
    assert invoke(command, [str(run.folder), "--to", "vllm-bench-serve", "--out", str(exported)]).exit_code == 0
    told = invoke(report.command, [str(run.folder), "--json", str(figures)])
    assert re.search(r"TTFT +2 +950 ms +950 ms", told.output)  # how many, mean, median
    theirs, ours = json.loads(exported.read_text()), json.loads(figures.read_text())["figures"]
    assert theirs["median_ttft_ms"] == ours["ttft_p50_ms"] == 950
    summary = {latency.name.lower(): latency for latency in run.summary().latencies}
    for name in ("ttft", "tpot", "itl", "e2el"):
        assert theirs[f"median_{name}_ms"] == pytest.approx((summary[name].percentiles_ns[50] or 0) / MS)
        assert theirs[f"mean_{name}_ms"] == pytest.approx((summary[name].mean_ns or 0) / MS)


def test_two_tokens_of_one_step_are_one_delivery(tmp_path: Path) -> None:
    burst = row(0, 0, [0, 1], output_tokens=3, burst_iterations=[1], burst_tokens=[2])
    found = serve_result(made(tmp_path, [burst]), detailed=True)
    assert found["itls"] == [[1.0]]
    assert found["mean_tpot_ms"] == 500


def test_throughput_by_hand(tmp_path: Path) -> None:
    found = throughput_result(made(tmp_path, [row(0, 0, [0, 1, 2]), row(1, 100, [1, 2])]))
    assert found == {
        "model_id": "tiny",
        "elapsed_time": 2.5,
        "num_requests": 2,
        "total_num_tokens": 25,
        "requests_per_second": 0.8,
        "tokens_per_second": 10.0,
    }


def test_the_command_writes_once(tmp_path: Path) -> None:
    folder, out = write_run(tmp_path / "run", ran(4), facts()), tmp_path / "result.json"
    words = [str(folder), "--to", "vllm-bench-serve", "--out", str(out)]
    assert CliRunner().invoke(command, words).exit_code == 0
    assert "itls" not in json.loads(out.read_text())
    assert "never overwritten" in str(CliRunner().invoke(command, words).exception)


def test_without_an_answer_there_is_no_result(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", {"iterations": ran(1)["iterations"]})
    with pytest.raises(InputError, match="no answered request"):
        serve_result(load(folder), detailed=False)


@pytest.mark.vllm
@pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="no vLLM is installed")
def test_vllms_own_computation_gives_the_same_figures(tmp_path: Path) -> None:
    from vllm.benchmarks.lib.endpoint_request_func import RequestFuncOutput
    from vllm.benchmarks.serve import calculate_metrics

    limits = {"ttft": 100.0, "tpot": 4.5, "e2el": 300.0}
    slo = Slo(*limits.values())
    found = serve_result(load(write_run(tmp_path / "run", ran(20))), detailed=True, slo=slo)
    lists = (found[name] for name in ("ttfts", "itls", "latencies", "start_times", "input_lens", "output_lens"))
    outputs = [
        RequestFuncOutput(
            success=True, ttft=ttft, itl=itl, latency=latency, start_time=start, prompt_len=prompt, output_tokens=output
        )
        for ttft, itl, latency, start, prompt, output in zip(*lists, strict=True)
    ]
    theirs, lengths = calculate_metrics([], outputs, found["duration"], None, [99.0], limits)
    assert lengths == found["output_lens"]
    assert (theirs.max_concurrent_requests, theirs.max_output_tokens_per_s) == (
        found["max_concurrent_requests"],
        found["max_output_tokens_per_s"],
    )
    for name in ("ttft", "tpot", "itl", "e2el"):
        for figure in ("mean", "median", "std"):
            assert found[f"{figure}_{name}_ms"] == pytest.approx(getattr(theirs, f"{figure}_{name}_ms"), abs=1e-9), name
        assert found[f"p99_{name}_ms"] == pytest.approx(getattr(theirs, f"percentiles_{name}_ms")[0][1])
    for name in ("request_throughput", "request_goodput", "output_throughput", "total_token_throughput"):
        assert found[name] == pytest.approx(getattr(theirs, name))
    assert (found["total_input_tokens"], found["total_output_tokens"]) == (theirs.total_input, theirs.total_output)


def test_goodput_by_hand(tmp_path: Path) -> None:
    """First tokens 0.5 and 1.4 s after the arrival; one of the two keeps a second."""
    run = made(tmp_path, [row(0, 0, [0, 1, 2]), row(1, 100, [1, 2])])
    assert serve_result(run, detailed=False, slo=Slo(ttft_ms=1000))["request_goodput"] == pytest.approx(1 / 2.5)
    assert serve_result(run, detailed=False)["request_goodput"] is None
