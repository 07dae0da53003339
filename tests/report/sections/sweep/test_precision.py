"""The effect of precision: perplexity, throughput and weights of several engines in one table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner, Result

from engine_probe.commands.compare import command as compare_command
from engine_probe.commands.report import command as report_command
from engine_probe.evaluation.precision import short_names
from engine_probe.evaluation.published.reference import read_reference
from engine_probe.perplexity.perplexity_spec import Quality
from engine_probe.perplexity.text_scores import Measured, Precision, write_measured
from engine_probe.recordings.sweep import load_sweep
from engine_probe.report.sections.sweep.precision import precision_section
from tests.support.recordings.run_folders import facts, ran, write_run
from tests.support.values import has_values

GIB = 1 << 30
TOKENS = [100] * 50
BASE = np.random.default_rng(1).normal(178, 30, 50)  # nats of each window: a perplexity near 6
FP8 = BASE + 100 * np.log(1.02) + np.random.default_rng(2).normal(0, 0.5, 50)


def said(nll: Sequence[float | None], windows: str = "same", quantization: str | None = None) -> Measured:
    return Measured(
        model="m",
        vllm="0.32.0",
        precision=Precision("bfloat16", quantization, "auto"),
        asked=Quality("somewhere/wiki.test.raw", window=101),
        text_sha256="t",
        windows_sha256=windows,
        window_nll=[None if value is None else float(value) for value in nll],
        window_tokens=TOKENS[: len(nll)],
        not_finite_tokens=sum(value is None for value in nll),
        unused_tokens=7,
        bos_added=True,
        seconds=2.5,
    )


def memory(weights_bytes: int) -> list[dict[str, Any]]:
    """A card of 48 GiB of which nothing but the weights is known."""
    parts = ("kv_pool", "activations", "graphs", "other", "free", "reserved", "used", "nvml_used", "rss")
    unknown = {f"{part}_bytes": None for part in parts}
    row = {"rank": 0, "device": "GPU-1", "name": "a card", "total_bytes": 48 * GIB, "weights_bytes": weights_bytes}
    known = {"total_bytes": "somebody said", "weights_bytes": "somebody said"}
    return [{**row, **unknown, "sources": known, "missing": dict.fromkeys(unknown, "nobody said")}]


def write_engines(folder: Path, engines: dict[str | None, tuple[Measured | None, int, int]]) -> Path:
    """By quantization: what it said of the text, GiB of weights, blocks of its pool."""
    points: list[dict[str, Any]] = []
    for number, (quantization, (measured, weights, blocks)) in enumerate(engines.items()):
        engine = {"model": "m", "arguments": {"quantization": quantization}}
        work = {"concurrency": 20, "input_len": 48, "output_len": 40}
        run = facts(blocks) | {"memory": memory(weights * GIB)}
        write_run(folder / "points" / f"p{number}", ran(20, blocks=blocks), run)
        points.append(
            {"id": f"p{number}", "status": "complete", "point": {"engine": engine, "workload": work, "quality": None}}
        )
        asked = {"engine": engine, "workload": work, "quality": {"text": "wiki.test.raw"}}
        row = {"id": f"t{number}", "point": asked | {"label": f"perplexity, quantization {quantization}"}}
        if measured is not None:
            write_measured(folder / "points" / f"t{number}", measured)
        points.append(row | {"reason": "the engine's process ended by signal SIGKILL"})
    (folder / "sweep.json").write_text(json.dumps({"sweep": {"question": "What does it cost?"}, "points": points}))
    return folder


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("precision") / "sweep"
    engines: dict[str | None, tuple[Measured | None, int, int]] = {
        None: (said(list(BASE)), 16, 40),
        "fp8": (said(list(FP8), quantization="fp8"), 8, 60),
    }
    return write_engines(place, engines)


def report(folder: Path, *more: object) -> Result:
    return CliRunner().invoke(report_command, [str(folder), "--verbose", *map(str, more)], env={"COLUMNS": "200"})


def compare(*words: object) -> Result:
    return CliRunner().invoke(compare_command, [str(word) for word in words], env={"COLUMNS": "200"})


def test_one_table_holds_quality_speed_and_memory_against_the_first(sweep: Path) -> None:
    done = report(sweep)
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    cost = 100 * (np.exp((FP8 - BASE).sum() / 5000) - 1)
    (base,) = (line for line in lines if line.startswith("quantization none ") and "GiB" in line)
    assert f"{np.exp(BASE.sum() / 5000):.4f}" in base
    assert "16 GiB" in base
    (row,) = (line for line in lines if line.startswith("quantization fp8 ") and "GiB" in line)
    assert f"{cost:+.2f}%" in row
    assert "8 GiB" in row
    assert row.rstrip().endswith("960")  # 60 blocks of 16 tokens
    told = " ".join(done.output.split())
    assert f"quantization fp8 against quantization none: perplexity is worse, {cost:+.2f}%" in told
    assert has_values(told, "1.25", "20", "0.50")
    assert has_values(told, "5,000", "50", "101")
    assert has_values(told[: told.index("in no window")], "7")


def test_a_text_is_not_a_point_of_a_curve(sweep: Path) -> None:
    figures = sweep.parent / "figures.json"
    assert report(sweep, "--json", figures).exit_code == 0
    found = json.loads(figures.read_text())
    assert [point["id"] for point in found["points"]] == ["p0", "p1"]
    assert [text["id"] for text in found["texts"]] == ["t0", "t1"]
    assert found["texts"][1]["relative_weights"] == 0.5
    assert found["texts"][1]["change"]["p"] < 1e-6
    assert found["metrics"]["perplexity"]["formula"] == "exp(mean of -ln p over scored tokens)"


def test_published_rows_are_relative_to_their_own_first(sweep: Path) -> None:
    told = report(sweep, "--reference", "l40s_precision").output
    (row,) = (line for line in told.splitlines() if line.startswith("published: AWQ INT4"))
    assert row.split() == ["published:", "AWQ", "INT4", "5.95", "+1.71%", "×", "1.30", "×", "0.25"]
    assert "It names neither the model" in told


def test_published_precisions_have_nothing_beside_a_sweep_without_a_text(tmp_path: Path) -> None:
    engines: dict[str | None, tuple[Measured | None, int, int]] = {None: (None, 16, 40)}
    folder = write_engines(tmp_path / "sweep", engines)
    document = json.loads((folder / "sweep.json").read_text())
    document["points"] = document["points"][:1]
    (folder / "sweep.json").write_text(json.dumps(document))
    assert "this sweep has no [quality]" in report(folder, "--reference", "l40s_precision").output


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (said([*BASE[:-1], None]), "1 of 5,000 tokens have no finite probability"),
        (said(list(FP8), windows="else"), "not the same tokens: another tokenizer, for which perplexity is another"),
        (None, "the engine's process ended by signal SIGKILL"),
    ],
)
def test_engines_that_cannot_be_compared_have_a_reason_and_no_figure(
    tmp_path: Path, other: Measured | None, why: str
) -> None:
    engines: dict[str | None, tuple[Measured | None, int, int]] = {
        None: (said(list(BASE)), 16, 40),
        "fp8": (other, 8, 60),
    }
    done = report(write_engines(tmp_path / "sweep", engines))
    told = " ".join(done.output.split())
    assert f"quantization fp8 is not compared with quantization none: {why}" in told
    assert done.exit_code == (0 if other is not None and None not in other.window_nll else 1)


@pytest.mark.lengthy
def test_two_sweeps_are_compared_by_their_windows(tmp_path: Path) -> None:
    before = write_engines(tmp_path / "a", {None: (said(list(BASE)), 16, 40)})
    after = write_engines(tmp_path / "b", {None: (said(list(FP8)), 16, 40)})
    held = compare(before, after, "--fail-if", "perplexity > 1%")
    assert held.exit_code == 1
    assert has_values(held.stderr, "1%", "+2.01%")
    assert compare(before, after, "--fail-if", "perplexity > 3%").exit_code == 0
    (found,) = json.loads(compare(before, after, "--format", "json").stdout)
    (change,) = found["points"][-1]["changes"]
    assert (change["metric"], change["verdict"]) == ("perplexity", "worse")


def test_a_sweep_that_wrote_none_in_python_is_compared_with_one_that_did_not(tmp_path: Path) -> None:
    older = write_engines(tmp_path / "a", {None: (said(list(BASE)), 16, 40)})
    newer = write_engines(tmp_path / "b", {None: (said(list(FP8)), 16, 40)})
    rows = (newer / "sweep.json").read_text()
    (newer / "sweep.json").write_text(rows.replace("quantization None", "quantization none"))
    (found,) = json.loads(compare(older, newer, "--format", "json").stdout)
    assert found["points"][-1]["point"] == "perplexity, quantization none"


def test_two_texts_by_themselves_are_compared(tmp_path: Path) -> None:
    for name, nll in (("a", BASE), ("b", FP8)):
        write_measured(tmp_path / name / "perplexity", said(list(nll)))
    held = compare(tmp_path / "a", tmp_path / "b", "--fail-if", "perplexity > 1%")
    assert held.exit_code == 1, held.output
    alone = report(tmp_path / "a")
    assert alone.exit_code == 0, alone.output
    assert "Perplexity 5." in alone.output


@pytest.mark.parametrize(
    ("windows", "sentence"),
    [
        (50, "Perplexity: mean difference per token over the windows that both sides scored"),
        (1, "Not tested: a text of a single window does not tell how perplexity varies. Score a longer text."),
    ],
)
def test_what_a_comparison_of_texts_says_of_its_test(tmp_path: Path, windows: int, sentence: str) -> None:
    for name, nll in (("a", BASE), ("b", FP8)):
        write_measured(tmp_path / name / "perplexity", said(list(nll)[:windows]))
    told = " ".join(compare(tmp_path / "a", tmp_path / "b", "--verbose").output.split())
    assert sentence in told
    assert "repeats" not in told
    assert "Welch" not in told


def test_two_texts_of_other_tokens_are_refused(tmp_path: Path) -> None:
    write_measured(tmp_path / "a" / "perplexity", said(list(BASE)))
    write_measured(tmp_path / "b" / "perplexity", said(list(BASE), windows="else"))
    refused = compare(tmp_path / "a", tmp_path / "b")
    assert "b: perplexity is not compared: not the same tokens" in str(refused.exception)


def test_a_damaged_file_is_reported_and_the_rest_is_shown(tmp_path: Path) -> None:
    folder = write_engines(tmp_path / "sweep", {None: (said(list(BASE)), 16, 40)})
    (folder / "points" / "t0" / "perplexity.json").write_text("{")
    told = " ".join(report(folder).output.split())
    assert "has no perplexity, so nothing is compared with it:" in told
    assert "cannot be read" in told


def test_the_page_draws_the_changes(sweep: Path, window: Any) -> None:
    page = sweep.parent / "page.html"
    assert report(sweep, "--html", page, "--reference", "l40s_precision").exit_code == 0
    sheet = window.new_page(1000, 900)
    words: list[str] = []
    sheet.on("console", lambda message: words.append(message.text))
    sheet.goto(page.as_uri())
    assert sheet.locator("text=Effect of precision").count() == 1
    drawing = sheet.locator("figure", has_text="Change of perplexity against quantization none").locator("svg")
    assert drawing.locator("circle").count() == 1
    trade = sheet.locator("figure", has_text="Perplexity against throughput")
    assert trade.locator("canvas").count() == 1
    assert trade.locator(".u-series", has_text="published: GPTQ INT4").count() == 1
    assert not words
    sheet.close()


def test_a_folder_is_called_by_its_last_part_where_that_tells_it_apart() -> None:
    named = ["model /m/bf16, dtype auto", "model /m/awq, dtype auto"]
    assert short_names(named) == ["bf16, dtype auto", "awq, dtype auto"]
    assert short_names(["model /one/same", "model /other/same"]) == ["model /one/same", "model /other/same"]


def test_perplexity_per_word_stands_beside_that_per_token(tmp_path: Path) -> None:
    asked = msgspec.structs.replace(
        said(BASE), asked=Quality("wiki.test.raw", 101, per="word"), words=3000, documents=2
    )
    folder = write_engines(tmp_path, {None: (asked, 14, 60), "fp8": (msgspec.structs.replace(asked), 7, 60)})
    swept = load_sweep(folder)
    per_word = float(np.exp(BASE.sum() / 3000))
    assert [text.word_perplexity for text in swept.texts] == pytest.approx([per_word] * 2)
    (table,) = precision_section(swept, None).tables
    at = [column.name for column in table.columns].index("per word")
    assert [row[at] for row in table.rows] == [f"{per_word:.4f}"] * 2


def test_without_words_there_is_no_column_for_them(sweep: Path) -> None:
    (table,) = precision_section(load_sweep(sweep), read_reference("l40s_precision")).tables
    assert "per word" not in [column.name for column in table.columns]
    assert {len(row) for row in table.rows} == {len(table.columns)}
