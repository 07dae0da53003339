"""The microbenchmarks on a real card, beside triton's own timing of the same operations in the same minute."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from kernels_bench.benchmarks import (
    allreduce,
    attention,
    launch_latency,
    matmul,
    memory_bandwidth,
    p2p,
    pcie,
    sustained_matmul,
)
from kernels_bench.benchmarks.context import Bench
from kernels_bench.benchmarks.number_formats import BF16, operands
from kernels_bench.devices.find import find_devices, free_bytes, release
from kernels_bench.devices.nvml import open_nvml, read_health, reader
from kernels_bench.results import Figure, Health
from kernels_bench.timing.clocks import CudaClock
from kernels_bench.timing.measure import QUICK, Work, measure

pytestmark = pytest.mark.gpu

AT_LEAST = 0.99  # of the rate that triton.testing.do_bench comes to
PAIRS = 5  # the two take turns, so that a warming card favours neither


def bench(index: int = 0) -> Bench:
    device = find_devices("all")[index]
    return Bench(device, CudaClock(device, lambda: None), QUICK, True, lambda text: None)


def figures(module: Any) -> dict[str, Figure]:
    return {found.name: found for found in module.run(bench()) if isinstance(found, Figure)}


def share_of_triton(call: Callable[[], object], touched_bytes: int) -> float:
    """Our rate over triton's for the same call: the median of pairs taken in turn."""
    testing = pytest.importorskip("triton.testing")
    clock = bench().clock
    shares = []
    for _ in range(PAIRS):
        theirs_ms = testing.do_bench(call, warmup=100, rep=300, return_mode="median")
        ours_ms = measure(Work((call,), touched_bytes, graph=False), clock, QUICK).median_ns / 1e6
        shares.append(theirs_ms / ours_ms)
    return statistics.median(shares)


def test_copy_beside_triton() -> None:
    values = 1 << 29
    source, target = torch.randn(values, device="cuda:0"), torch.empty(values, device="cuda:0")
    assert share_of_triton(lambda: target.copy_(source), 2 * source.nbytes) >= AT_LEAST


def test_triad_beside_triton() -> None:
    a, b, c = (torch.randn(1 << 28, device="cuda:0") for _ in range(3))
    assert share_of_triton(lambda: torch.add(b, c, alpha=3.0, out=a), 3 * a.nbytes) >= AT_LEAST


def test_a_short_product_beside_tritons_graphs() -> None:
    """Both replay a graph of many calls, on one weight that may stay in the cache: the same work, no gap of a host."""
    testing = pytest.importorskip("triton.testing")
    data = operands(BF16, 16, matmul.DECODE_N, matmul.DECODE_K, torch.device("cuda:0"))
    clock, shares = bench().clock, []
    for _ in range(PAIRS):
        theirs_ms = testing.do_bench_cudagraph(data.multiply, rep=100, return_mode="median")
        ours = measure(Work((data.multiply,), cold=False), clock, QUICK)
        assert ours.calls_per_sample > 1
        shares.append(theirs_ms * 1e6 / ours.median_ns)
    assert statistics.median(shares) >= AT_LEAST


def test_the_large_product_beside_triton() -> None:
    data = operands(BF16, matmul.SQUARE, matmul.SQUARE, matmul.SQUARE, torch.device("cuda:0"))
    assert share_of_triton(data.multiply, 3 * data.out.nbytes) >= AT_LEAST


def test_memory_is_right_and_within_the_datasheet() -> None:
    found = figures(memory_bandwidth)
    assert set(found) == {"copy", "read", "write", "triad"}
    assert all(figure.check and figure.check.passed for figure in found.values())


def test_every_format_the_card_has_is_multiplied_rightly() -> None:
    for finding in matmul.squares(bench()):
        if isinstance(finding, Figure):
            assert finding.check is not None
            assert finding.check.passed, finding.name


def test_decode_shapes_go_through_a_graph_and_are_right() -> None:
    for finding in matmul.decode(bench()):
        assert isinstance(finding, Figure)
        assert finding.check is not None
        assert finding.check.passed, finding.name


def test_attention_and_gather_are_right() -> None:
    assert all(figure.check and figure.check.passed for figure in figures(attention).values())


def test_a_graph_launches_no_slower_than_the_host() -> None:
    found = figures(launch_latency)
    assert set(found) == {"launch to finish", "graph replay to finish", "back to back", "in a graph"}
    assert found["in a graph"].value <= found["launch to finish"].value


def test_what_goes_over_pcie_arrives() -> None:
    found = figures(pcie)
    assert len(found) == 5
    assert all(figure.check and figure.check.passed for figure in found.values())


def test_a_sustained_run_keeps_every_sample() -> None:
    (figure,) = figures(sustained_matmul).values()
    assert figure.check is not None
    assert figure.check.passed
    assert sum(map(len, figure.samples.rounds_ns)) > 100


def test_every_pair_of_cards_moves_what_it_says() -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    benches = (bench(0), bench(1))
    for source, target in p2p.pairs(benches):
        for finding in p2p.run(source, target):
            assert isinstance(finding, Figure)
            assert finding.check
            assert finding.check.passed
            assert finding.name != "latency" or str(finding.detail["launched"]).startswith("from a graph")


def test_all_cards_add_up_over_nccl_short_ones_in_a_graph() -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    found = [finding for finding in allreduce.run((bench(0), bench(1))) if isinstance(finding, Figure)]
    assert len(found) == len(allreduce.QUICK_TOKENS)
    assert all(figure.check and figure.check.passed for figure in found)
    assert found[0].samples.calls_per_sample > 1
    assert found[0].detail["backend"] == "nccl"


def test_the_card_answers_for_its_health_and_is_left_as_it_was() -> None:
    devices = find_devices("cuda:0")
    with open_nvml(devices) as nvml:
        before = read_health(nvml, devices[0])
        assert before != Health()
        read = reader(nvml, devices[0])
        assert read is not None
        assert read().sm_mhz
        after = read_health(nvml, devices[0])
    settings = ("power_limit_mw", "persistence", "ecc", "mig")
    assert [getattr(before, name) for name in settings] == [getattr(after, name) for name in settings]


def test_memory_is_given_back() -> None:
    one = bench()
    release(one.device)
    free = free_bytes(one.device)
    for _ in memory_bandwidth.run(one):
        pass
    release(one.device)
    assert free_bytes(one.device) >= free - (512 << 20)  # what libraries and the flush buffer keep


def test_quick_from_end_to_end_on_one_card(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    line = [sys.executable, "-m", "kernels_bench", "--device", "cuda:0", "--quick", "--json", str(path)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=280)
    assert done.returncode in (0, 1, 3), done.stderr
    report = json.loads(path.read_text())
    wrong = [
        row for row in report["results"] if row["figure"] and (row["figure"]["check"] or {}).get("passed") is False
    ]
    assert wrong == []
    assert report["seconds"] < 60
