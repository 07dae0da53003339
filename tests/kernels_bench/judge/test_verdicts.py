"""The verdicts and their conditions."""

from __future__ import annotations

import msgspec
import pytest

from kernels_bench.devices.specifications import specification_of
from kernels_bench.judge.link_targets import by_path
from kernels_bench.judge.outliers import outliers
from kernels_bench.judge.verdicts import invalid_conditions, judge
from kernels_bench.results import FAIL, INVALID, MEASURED, PASS, WARN, Check, Figure, Health, Reading, Result, Verdict
from tests.support.devices.fake_bench import figure
from tests.support.values import has_values

L40S, H200, H100 = "NVIDIA L40S", "NVIDIA H200", "NVIDIA H100 80GB HBM3"
HOT, POWER_CAP = 64, 4  # NVML's bits


def verdict(found: Figure, card: str, baseline: Figure | None = None, invalid: tuple[str, ...] = ()) -> Verdict:
    return judge(found, card, invalid, specification_of(card), baseline, 0.05)[0]


def reasons(found: Figure, card: str, baseline: Figure | None = None) -> str:
    return "; ".join(judge(found, card, (), specification_of(card), baseline, 0.05)[1])


def test_the_marks_of_the_l40s() -> None:
    assert verdict(figure(0.73e12), L40S) == PASS
    assert verdict(figure(0.71e12), L40S) == FAIL
    gemm = {"test": "gemm", "name": "bf16 square", "unit": "FLOP/s"}
    assert verdict(figure(151e12, **gemm), L40S) == PASS
    assert verdict(figure(149e12, **gemm), L40S) == FAIL


def test_another_card_is_held_against_its_datasheet() -> None:
    assert verdict(figure(3.0e12), H100) == PASS
    assert verdict(figure(2.7e12), H100) == WARN
    assert has_values(reasons(figure(3.0e12), H100), "90%", "3.35")
    assert "datasheet" in reasons(figure(3.0e12), H100)


def test_less_than_half_of_that_share_is_a_fail() -> None:
    assert verdict(figure(1.3e12), H100) == FAIL
    assert has_values(reasons(figure(1.3e12), H100), "83%")


def test_nothing_is_judged_by_a_figure_that_nothing_confirms() -> None:
    """The RTX 6000 Ada's BF16 rate is worked out from its FP8 rate; no public document was found that states it."""
    card = "NVIDIA RTX 6000 Ada Generation"
    slow = figure(30e12, "gemm", "bf16 square", "FLOP/s")
    assert verdict(slow, card) == MEASURED
    assert "which nothing public confirms" in reasons(slow, card)


def test_a_share_without_a_mark_is_told_and_not_judged() -> None:
    fp8 = figure(1.2e15, "gemm", "fp8 square", "FLOP/s")
    assert verdict(fp8, H200) == MEASURED
    assert "61% of" in reasons(fp8, H200)


def test_more_than_the_datasheet_allows_is_suspicious() -> None:
    assert verdict(figure(5.0e12), H200) == WARN
    assert "more than the document allows" in reasons(figure(5.0e12), H200)


@pytest.mark.parametrize("card", ["AMD EPYC", "NVIDIA X1000"])
def test_where_nothing_is_known_nothing_is_claimed(card: str) -> None:
    assert judge(figure(2e10), card, (), specification_of(card), None, 0.05) == (MEASURED, ("no pass mark known",))


def test_a_wrong_result_fails_whatever_its_speed_and_whoever_was_on_the_card() -> None:
    wrong = figure(0.85e12, check=Check(False, "float64", 1000, 240.0))
    assert verdict(wrong, L40S, invalid=("others",)) == FAIL
    assert "240 times what rounding explains" in reasons(wrong, L40S)


def test_a_figure_taken_under_foreign_conditions_is_invalid_even_if_it_is_good() -> None:
    assert verdict(figure(0.85e12), L40S, invalid=("slowed down",)) == INVALID


def test_a_good_figure_that_never_came_to_rest_is_no_pass() -> None:
    shaky = figure(0.85e12, stable=False)
    assert verdict(shaky, L40S) == WARN
    assert reasons(shaky, L40S).endswith("unstable")


@pytest.mark.parametrize(("value", "expected"), [(1.00e10, PASS), (0.96e10, PASS), (0.94e10, FAIL), (1.5e10, PASS)])
def test_against_a_baseline(value: float, expected: Verdict) -> None:
    assert verdict(figure(value), "AMD EPYC", baseline=figure(1e10)) == expected


def test_a_time_is_better_when_it_is_shorter() -> None:
    slow, fast = (figure(value, "launch", "operator", "ns") for value in (2000.0, 1000.0))
    assert verdict(slow, "AMD EPYC", baseline=fast) == FAIL
    assert verdict(fast, "AMD EPYC", baseline=slow) == PASS


def test_an_unstable_figure_cannot_fail_a_baseline() -> None:
    assert verdict(figure(0.5e10, stable=False), "AMD EPYC", baseline=figure(1e10)) == WARN
    assert verdict(figure(0.5e10), "AMD EPYC", baseline=figure(1e10, stable=False)) == WARN


def test_another_shape_is_not_compared() -> None:
    small, large = (
        figure(value, "gemm", "bf16 square", "FLOP/s", detail={"m": side, "n": side, "k": side})
        for value, side in ((1e11, 512), (4e11, 2048))
    )
    assert verdict(small, "AMD EPYC", baseline=large) == MEASURED
    assert "2048×2048×2048 and 512×512×512" in reasons(small, "AMD EPYC", baseline=large)


def test_a_throttled_run_is_invalid() -> None:
    readings = [Reading(1, temperature_c=88, slowed_by=POWER_CAP), Reading(2, temperature_c=91, slowed_by=HOT)]
    assert invalid_conditions("gemm", readings, Health()) == ["slowed down while it ran: too hot (hardware), 91 °C"]


def test_working_at_the_power_limit_is_what_a_card_is_made_for() -> None:
    assert invalid_conditions("gemm", [Reading(1, slowed_by=POWER_CAP)], Health()) == []


def test_company_and_slices_are_invalid() -> None:
    assert invalid_conditions("gemm", [], Health(processes=(7,)), (8,)) == ["other processes are on the GPU: 7, 8"]
    assert "MIG" in invalid_conditions("gemm", [], Health(mig=True))[0]


def test_a_narrow_link_under_load_invalidates_pcie_and_nothing_else() -> None:
    slot = Health(pcie_generation_max=4, pcie_width_max=16)
    readings = [Reading(1, pcie_generation=1, pcie_width=8), Reading(2, pcie_generation=4, pcie_width=8)]
    assert invalid_conditions("pcie", readings, slot) == [
        "PCIe width under load is 8, this slot allows 16: reseat the GPU"
    ]
    assert invalid_conditions("memory", readings, slot) == []


def test_nvlink_is_held_to_the_links_of_the_card() -> None:
    result = Result(MEASURED, ("no pass mark known",), "cuda:0→cuda:1", figure=figure(400e9, "p2p", "one way"))
    good = by_path(result, "NVLink", specification_of(H200))
    told = ("NVLink, 89% of 450 GB/s, which all links of the GPU carry one way",)
    assert (good.verdict, good.reasons) == (PASS, told)
    few = msgspec.structs.replace(result, figure=figure(26e9, "p2p", "one way"))
    assert by_path(few, "NVLink", specification_of(H200)).verdict == WARN


def row(device: str, value: float) -> Result:
    return Result(MEASURED, ("no pass mark known",), device, figure=figure(value))


def test_the_outlier_of_a_box_is_named() -> None:
    names = {f"cuda:{index}": H200 for index in range(4)}
    values = (4.3e12, 4.31e12, 3.5e12, 4.29e12)
    judged = outliers([row(f"cuda:{index}", value) for index, value in enumerate(values)], names, 0.05)
    assert [result.verdict for result in judged] == [MEASURED, MEASURED, WARN, MEASURED]
    assert judged[2].reasons[0].startswith("cuda:2 is the outlier: -18.6%")


def test_of_two_cards_neither_is_known_to_be_right() -> None:
    names = {"cuda:0": H200, "cuda:1": H200}
    judged = outliers([row("cuda:0", 4.3e12), row("cuda:1", 3.5e12)], names, 0.05)
    assert [result.verdict for result in judged] == [MEASURED, WARN]
    assert "it is unknown which is right" in judged[1].reasons[0]


def test_cards_of_different_kinds_are_not_compared() -> None:
    names = {"cuda:0": H200, "cuda:1": L40S}
    assert [r.verdict for r in outliers([row("cuda:0", 4e12), row("cuda:1", 0.7e12)], names, 0.05)] == [MEASURED] * 2


@pytest.mark.parametrize(
    ("value", "path", "expected"),
    [
        (26e9, "same switch", PASS),
        (20e9, "same switch", WARN),
        (9e9, "crossing NUMA", WARN),
        (9e9, "same switch", FAIL),
        (400e9, "NVLink", PASS),
    ],
)
def test_card_to_card_by_the_way_between_them(value: float, path: str, expected: Verdict) -> None:
    result = Result(MEASURED, ("no pass mark known",), "cuda:0→cuda:1", figure=figure(value, "p2p", "one way"))
    assert by_path(result, path).verdict == expected
    assert path in by_path(result, path).reasons[0]


def test_a_latency_says_how_it_was_launched() -> None:
    few = figure(2e3, "p2p", "latency", detail={"launched": "from a graph"})
    result = Result(MEASURED, ("no pass mark known",), "cuda:0→cuda:1", figure=few)
    assert by_path(result, "NVLink").reasons == ("launched from a graph", "no pass mark known")
