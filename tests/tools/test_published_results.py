"""docs/results/published.md has a row for every figure of the reference data, as published, and every doubt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine_probe.evaluation.published.documents import DOCUMENTS, Stated, read_document, references_of
from engine_probe.evaluation.published.reference import read_reference
from tools.published_results import document, ours
from tools.published_results.__main__ import main
from tools.published_results.pools import POOLS

RESULTS = Path(__file__).parents[2] / "docs" / "results"
PAGE = RESULTS / "published.md"


def cells(line: str) -> tuple[str, ...]:
    return tuple(cell.strip() for cell in line.strip("|").split("|"))


def written() -> list[tuple[str, ...]]:
    """The rows of the page without what is ours, which changes with the sweeps."""
    _, *documents = PAGE.read_text().split("\n## ")
    lines = [line for line in "\n".join(documents).splitlines() if line.startswith("| ")]
    rows = [cells(line) for line in lines if line.count("|") == 6]
    return [(*row[:3], row[4]) for row in rows if row != document.COLUMNS]


def expected() -> list[tuple[str, ...]]:
    found = [section for name in DOCUMENTS for section in document.sections(name, {})]
    rows = [(row.figure, row.published, row.kind, row.doubt) for each in found for row in each.rows]
    return [tuple(cell.replace("|", "/") for cell in row) for row in rows]


def test_the_page_has_the_rows_of_the_reference_data() -> None:
    again = "python -m tools.published_results --write docs/results/published.md"
    assert written() == expected(), f"the reference data has changed: {again}"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_nothing_of_a_document_is_left_without_a_row(name: str) -> None:
    rows = sum(len(section.rows) for section in document.sections(name, {}))
    stated = sum(len(section.stated) for section in read_document(name).sections)
    tables = references_of(name)
    figures = sum(len(each.figures) + len(each.claims) + 3 * len(each.precisions) for each in tables)
    assert rows == stated + figures


def test_a_row_of_every_recorded_figure_is_in_the_page() -> None:
    recorded = json.loads((RESULTS / "published.json").read_text())
    rows = [row for name in DOCUMENTS for section in read_document(name).sections for row in section.stated]
    assert {row.recorded for row in rows if row.recorded} <= set(recorded)
    for pool in POOLS:
        assert {f"{pool.model}.peak_kv_share.{load}" for load in pool.loads} <= set(recorded)


def test_the_command_writes_the_page_from_what_was_recorded(tmp_path: Path) -> None:
    (tmp_path / "page.json").write_text('{"gpt2-xl.peak_kv_share.200": 0.21}')
    assert main(["--write", str(tmp_path / "page.md")]) == 0
    text = (tmp_path / "page.md").read_text()
    assert (
        "| gpt2-xl: KV peak at 200 concurrent requests | 20% | measured | 21% (vLLM's scheduler without a model) |"
        in text
    )
    assert "| gpt2-xl: KV peak at 400 concurrent requests | 40% | measured | needs a GPU |" in text


@pytest.mark.parametrize(("expression", "value"), [("2 * 3.59 / 6.79", 1.0574), ("100 * (1 - 2 ** 3)", -700)])
def test_arithmetic_is_calculated(expression: str, value: float) -> None:
    assert ours.calculated(expression) == pytest.approx(value, rel=1e-4)


@pytest.mark.parametrize("expression", ["open('x')", "a + 1", "-1", "1 if 2 else 3"])
def test_what_is_no_arithmetic_is_refused(expression: str) -> None:
    with pytest.raises(ValueError, match="is no arithmetic of numbers"):
        ours.calculated(expression)


@pytest.mark.parametrize(
    ("asked", "value"),
    [
        ("gpt2-xl: kv_bytes_per_token", 2 * 48 * 1600 * 2),
        ("falcon-40b: kv_heads / 2", 4),
        ("falcon-40b: head_size", 64),
        ("llama-3.1-70b-fp8: head_size", 128),
    ],
)
def test_a_geometry_is_that_of_the_catalogue(asked: str, value: float) -> None:
    assert ours.of_geometry(asked) == value


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (
            {"value": 512, "sweep": "l40s_offline: workload.input_len"},
            "the same in the sweep l40s_offline",
        ),
        ({"value": 511, "sweep": "l40s_offline: workload.input_len"}, "512 in the sweep l40s_offline"),
        (
            {"value": "1, 2, 3", "sweep": "l4_parallel: workload.num_prompts"},
            "the same in the sweep l4_parallel",
        ),
        ({"value": 1, "sweep": "l40s_offline: engine.arguments.nothing", "otherwise": 1}, "the same"),
        ({"value": 1, "sweep": "l40s_offline: engine.arguments.nothing"}, "left out in"),
        (
            {"value": "8, 10", "sweep": "l4_suites: workload.num_prompts"},
            "the same in the sweep l4_suites",
        ),
        ({"value": 3, "sweep": "l40s_continuous: prompts"}, "the same in the sweep l40s_continuous"),
    ],
)
def test_a_setting_is_held_against_the_shipped_sweep(row: dict[str, Any], words: str) -> None:
    assert ours.of_sweep(Stated(what="x", kind="setting", **row)).startswith(words)


def test_what_preemption_does_is_read_from_the_page_on_integrity() -> None:
    words = ours.effect_of_preemption(ours.INTEGRITY.read_text())
    assert "requests were preempted, " in words
    assert "p = " in words
    assert words in ours.ours_of_claim("lost_kv_cache")
    assert ours.ours_of_claim("failures") == ours.JUDGED


@pytest.mark.parametrize(
    ("value", "words"), [(4.41586, "4.41586"), (268208, "268,208"), (2.9676, "2.9676"), (33.0, "33"), (0.05, "0.05")]
)
def test_a_published_number_keeps_its_digits(value: float, words: str) -> None:
    assert ours.printed(value) == words


def test_a_withheld_capacity_is_never_guessed() -> None:
    rows = [row for section in read_document("thesis").sections for row in section.stated if row.is_withheld]
    assert [ours.ours_of(row, {}) for row in rows] == ["not guessed"] * 3
    held = {figure.what for figure in read_reference("thesis_tensor_parallel").figures}
    assert "kv_capacity_tokens" not in held


def test_a_step_reads_all_weights_but_the_input_embedding() -> None:
    embedding = 128_256 * 4096 * 2 / 1e9
    assert ours.read_each_step_gb("llama-3-8b", {}) == pytest.approx(16.0605 - embedding, abs=1e-3)
    assert ours.read_each_step_gb("llama-3-70b", {"precision": "awq", "tensor_parallel_size": 2}) == pytest.approx(
        ours.read_each_step_gb("llama-3-70b", {"precision": "awq"}) / 2
    )


@pytest.mark.parametrize("name", ["l40s", "l40s_serving"])
def test_whatever_no_memory_bandwidth_allows_is_doubted(name: str) -> None:
    reference = read_reference(name)
    for figure in reference.figures:
        step_ms = ours.read_each_step_gb(figure.model, {**reference.setting, **figure.setting}) / ours.L40S_TB_S
        value = figure.value or figure.high or 0
        impossible = {
            "tpot_p50_ms": value < step_ms,
            "output_tokens_per_s": value > (figure.at or 0) / step_ms * 1e3,
        }.get(figure.what, False)
        assert impossible == ("GB of weights at 0.864 TB/s" in figure.doubt), (figure.model, figure.what)


def test_matrix_products_bound_the_throughput_of_any_batch() -> None:
    """By mental arithmetic, of 6.98 billion values in linear layers: 2 x 3 x 6.98 + 2 x 0.525 = 42.9 GFLOP a token."""
    setting = {"input_len": 512, "output_len": 256}
    assert ours.computed_tokens_per_s("llama-3-8b", setting) == pytest.approx(362e3 / 42.93, rel=1e-3)
    halved = {**setting, "precision": "int8", "tensor_parallel_size": 2}
    assert ours.computed_tokens_per_s("llama-3-8b", halved) == pytest.approx(4 * 362e3 / 42.93, rel=1e-3)


@pytest.mark.parametrize("name", ["l40s", "l40s_offline"])
def test_whatever_no_compute_allows_is_doubted(name: str) -> None:
    reference = read_reference(name)
    for figure in reference.figures:
        if figure.what == "output_tokens_per_s":
            most = ours.computed_tokens_per_s(figure.model, {**reference.setting, **figure.setting})
            impossible = (figure.value or figure.high or 0) > most
            assert impossible == (f"no batch gets more than {most:,.0f}" in figure.doubt), figure


@pytest.mark.parametrize(("key", "engines"), [("cluster_6x_70b_awq", 6), ("cluster_mix_70b", 4)])
def test_a_cluster_beyond_what_its_gpus_compute_is_doubted(key: str, engines: int) -> None:
    reference = read_reference("l40s_cluster")
    setting = {**reference.setting, "precision": "awq", "tensor_parallel_size": 2}
    most = engines * ours.computed_tokens_per_s("llama-3-70b", setting)
    row = read_document("l40s_x12").stated(key)
    assert isinstance(row.value, float | int)
    assert row.value > most
    assert f"{most:,.0f}" in row.doubt


def test_a_stated_load_whose_kv_cache_does_not_fit_is_doubted() -> None:
    """The two models whose 32 requests, with their weights, exceed the share of a GPU that vLLM takes."""
    title = "2. Models and precisions, one GPU"
    (section,) = (each for each in read_document("l40s_x12").sections if each.title == title)
    taken = 0.92 * 46_068 * 2**20 / 1e9
    for row in section.stated:
        if row.geometry:
            cache = 32 * 768 * ours.of_geometry(f"{ours.named(row.geometry)[0]}: kv_bytes_per_token") / 1e9
            exceeds = ours.of_geometry(row.geometry) + cache > taken
            assert exceeds == (f"another {cache:.1f} GB of KV cache" in row.doubt), row.what
