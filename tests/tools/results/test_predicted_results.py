from __future__ import annotations

import re

import pytest

from tools.results.predicted_results import (
    Curve,
    bounded,
    capacities,
    document,
    one_l4,
    saturation,
    split,
    verdict,
    withheld,
)


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_each_published_pool_is_within_a_tenth_without_its_own_figure() -> None:
    rows = [cells(line) for line in list(capacities())[2:]]
    assert len(rows) == 4
    for _, published, predicted, _, other, _ in rows:
        tokens, *ours = (float(text.replace(",", "")) for text in (published, predicted, other))
        assert ours == [pytest.approx(tokens, rel=0.1)] * 2


def test_withheld_capacities_are_predicted_for_both_caches() -> None:
    for _, _, wide, narrow in (cells(line) for line in list(withheld())[2:]):
        assert float(narrow.replace(",", "")) == pytest.approx(2 * float(wide.replace(",", "")), rel=0.001)


def test_where_a_pool_fills_and_throughput_peaks() -> None:
    curve = Curve([400.0, 900.0, 1000.0], [10.0, 30.0, 20.0], [0.4, 0.9, 1.0], 1000.0)
    *_, row = saturation({"gpt2-xl": curve})
    assert cells(row) == ["gpt2-xl", "1,000", "1,000", "1,000", "900", "900", "+0.0%", "100%"]
    *_, row = saturation({"falcon-40b": Curve([160.0], [1.0], [0.8], None)})
    assert cells(row)[2:4] == ["not up to 160", "-"]


def test_the_verdict_counts_what_the_tables_show() -> None:
    """The twin's throughput at 900, the published load, is half of its highest; Qwen's pool fills within 125 to 130."""
    filled = Curve([900.0, 1000.0], [10.0, 20.0], [0.9, 1.0], 1000.0)
    early, right = (Curve([load], [1.0], [1.0], load) for load in (100.0, 130.0))
    told = list(verdict({"gpt2-xl": filled, "deepseek-llm-7b-chat": early, "qwen1.5-14b-chat": right}))
    assert "2 of the 3 pools" in told[1]
    assert "50% to 50% of its highest" in told[2]
    assert told[3].startswith("- Of the 9 published figures of one L40S, 6 are beyond")
    assert told[4].startswith("- Of the 5 published figures of one L4, none are beyond")


def test_figures_that_no_such_card_can_reach_are_named() -> None:
    rows = [cells(line) for line in list(bounded())[2:]]
    assert {row[0] for row in rows} == {"llama-3-8b", "llama-2-13b", "mistral-7b"}
    for row in rows:
        assert row[-1] == ("possible" if row[1] == "TTFT, ms" else "beyond the datasheet")


def test_what_was_measured_on_an_l4_lies_within_its_bounds() -> None:
    assert [cells(line)[-1] for line in list(one_l4())[2:]] == ["possible"] * 5


def test_one_gpu_stands_beside_two() -> None:
    one, two = Curve([1.0], [20.0], [0.1], None), Curve([1.0], [30.0], [0.05], None)
    table = [cells(line) for line in split({1: one, 2: two}) if line.startswith("|")]
    assert [row[3] for row in table[2:4]] == ["-0.0%", "-0.1%"]
    assert table[-1] == ["1", "20", "30", "+50%", "10%", "5%"]


def test_every_table_has_one_width() -> None:
    loads = [1.0, 200.0, 400.0, 600.0]
    curve = Curve(loads, [1.0, 2.0, 3.0, 4.0], [0.1, 0.2, 0.4, 0.6], None)
    models = ("gpt2-xl", "deepseek-llm-7b-chat", "qwen1.5-14b-chat", "falcon-40b")
    page = list(document(dict.fromkeys(models, curve), {1: curve, 2: curve}))
    width = None
    for line in page:
        width = None if not line.startswith("|") else width or line.count("|")
        assert width in (None, line.count("|"))
    assert sum(bool(re.fullmatch(r"## .*", line)) for line in page) == 6
