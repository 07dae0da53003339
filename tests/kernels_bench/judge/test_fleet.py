"""The report of a fleet: outliers by model, versions that differ, one exit code, nodes with and without GPUs."""

from __future__ import annotations

import msgspec
import pytest

from kernels_bench.errors import UnavailableError
from kernels_bench.judge.fleet import FleetReport, Node, across, differences, exit_code
from kernels_bench.output.fleet_terminal import fleet_problems, show_any, show_fleet
from kernels_bench.output.terminal import show
from kernels_bench.results import FAIL, INVALID, MEASURED, WARN, Device, DeviceReport, Health, Report, Result, Verdict
from kernels_bench.run.ray_fleet import NodeRun, chosen
from tests.support.devices.fake_bench import figure
from tests.support.recordings import hardware_reports
from tests.support.values import has_values


def node(name: str, value: float, model: str = "NVIDIA H200", torch: str = "2.13", verdict: Verdict = MEASURED) -> Node:
    card = Device("cuda:0", model, f"GPU-{name}", 141 << 30, 50 << 20, 132, "9.0")
    result = Result(verdict, ("a reason",), "cuda:0", figure=figure(value))
    part = DeviceReport(card, Health(), Health(), ())
    report = Report("kernels_bench/1", "2026-11-21", 1.0, ("x",), True, 0.05, {"torch": torch}, (part,), (result,))
    return Node(name, name, report)


def fleet(*nodes: Node) -> FleetReport:
    return FleetReport("kernels_bench.fleet/1", "2026-11-21", 9.0, ("x",), 0.05, nodes)


def verdicts(nodes: tuple[Node, ...]) -> list[Verdict]:
    return [each.report.results[0].verdict for each in nodes if each.report]


def test_the_slow_card_of_the_fleet_is_named_with_its_node() -> None:
    judged = across([node("a", 4.3e12), node("b", 3.6e12), node("c", 4.31e12), Node("d", "d", failed="gone")], 0.05)
    assert verdicts(judged) == [MEASURED, WARN, MEASURED]
    assert judged[1].report is not None
    result = judged[1].report.results[0]
    assert result.device == "cuda:0"
    assert "outlier" in result.reasons[0]
    assert has_values(result.reasons[0], "-16.4%", "4.30")


def test_cards_of_other_models_are_no_equals() -> None:
    others = [node("a", 4.3e12), node("b", 4.29e12), node("c", 0.7e12, model="NVIDIA L40S")]
    assert verdicts(across(others, 0.05)) == [MEASURED] * 3


def test_versions_that_differ_are_said() -> None:
    (said,) = differences([node("a", 1e12), node("b", 1e12, torch="2.12"), node("c", 1e12)])
    assert (said.verdict, said.text) == (WARN, "torch differs: 2.13 on a, c; 2.12 on b")


@pytest.mark.parametrize(
    ("verdict", "failed", "code"), [(MEASURED, "", 0), (MEASURED, "gone", 3), (INVALID, "", 3), (FAIL, "gone", 1)]
)
def test_one_exit_code_for_all(verdict: Verdict, failed: str, code: int) -> None:
    lost = (Node("z", "z", failed=failed),) if failed else ()
    assert exit_code(fleet(node("a", 1e12), node("b", 1e12, verdict=verdict), *lost)) == code


def test_the_table_has_a_row_for_each_device_and_for_the_lost(capsys: pytest.CaptureFixture[str]) -> None:
    show_fleet(
        fleet(node("gpu-1", 4.3e12), node("gpu-2", 3.6e12, verdict=FAIL), Node("gpu-3", "3", failed="it [died]"))
    )
    shown = capsys.readouterr().out
    assert [line.split()[:2] for line in shown.splitlines()[2:5]] == [
        ["gpu-1", "cuda:0"],
        ["gpu-2", "cuda:0"],
        ["gpu-3", "-"],
    ]
    assert "FAIL gpu-2/cuda:0: memory copy: a reason" in shown
    assert "INVALID gpu-3: it [died]" in shown
    assert has_values(shown, "3", "1", "2", "1", "1", "1")  # nodes, lost, devices, FAIL, INVALID, MEASURED


def test_what_a_node_measured_less_is_worth_a_look() -> None:
    hurried = node("gpu-1", 4.3e12)
    assert hurried.report is not None
    cut = msgspec.structs.replace(hurried.report, measured_less=("memory triad left out",))
    worries = list(fleet_problems(fleet(msgspec.structs.replace(hurried, report=cut))))
    assert worries == [(WARN, "gpu-1", "measured less, to end in time: memory triad left out")]


def test_a_box_of_cards_ends_with_one_screen(capsys: pytest.CaptureFixture[str]) -> None:
    assert show_any(hardware_reports.box(8)) == 1
    shown = capsys.readouterr().out
    last = shown[shown.index("\nall GPUs") :].splitlines()
    assert len(last) < 24
    assert [line.split()[0] for line in last[4:13]] == [*(f"cuda:{number}" for number in range(8)), "between"]
    assert "3.87 TB/s" in last[6]  # of the slow one
    assert "320 GB/s" in last[12]  # of all pairs the slowest
    between = shown[shown.index("between the GPUs") : shown.index("\nall GPUs")]
    assert "p2p one way" in between
    assert "cuda:0→cuda:1" not in between  # a square, and no row for a pair that is as it should be
    assert "FAIL cuda:0, cuda:1, cuda:2, cuda:3, cuda:4, cuda:5, cuda:6, cuda:7: gemm fp8 square" in "".join(last)


def test_the_ways_of_a_box_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    box = hardware_reports.box(4)
    show(box)
    assert "the path of every pair: NVLink" in capsys.readouterr().out
    near = {"cuda:0→cuda:1", "cuda:1→cuda:0", "cuda:2→cuda:3", "cuda:3→cuda:2"}
    ways = {pair: "same switch" if pair in near else "crossing NUMA" for pair in box.topology}
    show(msgspec.structs.replace(box, topology=ways))
    rows = {line[:6]: line for line in capsys.readouterr().out.splitlines() if "crossing NUMA" in line}
    assert rows["cuda:0"].index("same switch") < rows["cuda:0"].index("crossing NUMA")
    assert rows["cuda:3"].index("crossing NUMA") < rows["cuda:3"].index("same switch")


def test_cards_are_measured_where_there_are_some() -> None:
    places = [NodeRun("head", "h", 8, 0), NodeRun("gpu-1", "1", 64, 8)]
    with_cards, left_out = chosen(places, None)
    assert [(place.name, place.gpus) for place in with_cards] == [("gpu-1", 8)]
    assert left_out[0].text == "left out, because Ray knows no GPU there: head"
    everywhere, none = chosen(places, "cpu")
    assert [(place.name, place.cpus, place.gpus) for place in everywhere] == [("head", 8, 0), ("gpu-1", 64, 0)]
    assert none == []
    assert chosen(places[:1], None)[0][0].gpus == 0
    with pytest.raises(UnavailableError, match="no node of this Ray cluster has a GPU"):
        chosen(places[:1], "all")
