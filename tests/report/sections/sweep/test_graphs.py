"""A sweep whose knee is the end of the CUDA graphs says so, and does not name the KV pool."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from engine_probe.analysis.batch.left_graphs import LeftGraphs
from engine_probe.commands.report import command
from engine_probe.report.sections.sweep.verdict import left_graphs_words
from engine_probe.workload.load import CONCURRENCY
from tests.support.recordings.run_folders import facts, ran, write_run
from tests.support.recordings.small_tables import table

LARGEST = 8
LEVELS = (1, 2, 4, 8, 12, 16)


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Write a sweep with a roomy pool and graphs for batches of up to eight tokens."""
    points = []
    for level in LEVELS:
        tables, told = ran(level, blocks=400), facts(blocks=400)
        told["compilation"] = {
            "mode": "VLLM_COMPILE",
            "backend": "inductor",
            "graph_mode": "FULL_AND_PIECEWISE",
            "capture_sizes": [1, 2, 4, 8],
            "max_capture_size": LARGEST,
            "splitting_ops": [],
            "custom_ops": [],
        }
        tables["workers"] = table(
            "workers",
            [
                {"iteration": number, "scheduled_tokens": tokens, **graph(tokens)}
                for number, tokens in enumerate(tables["iterations"]["scheduled_tokens"].to_pylist())
            ],
        )
        write_run(tmp_path / f"points/p{level}", tables, told)
        points.append({"id": f"p{level}", "point": {"concurrency": level}, "status": "complete"})
    (tmp_path / "sweep.json").write_text(json.dumps({"sweep": {"question": "What ends growth?"}, "points": points}))
    return tmp_path


def graph(tokens: int) -> dict[str, int]:
    size = next((size for size in (1, 2, 4, 8) if size >= tokens), None)
    return {"graph_mode": 2 if size else 0, "computed_tokens": size or tokens}


def said(*arguments: object) -> str:
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def test_the_verdict_says_where_decode_steps_outgrow_the_graphs(sweep: Path) -> None:
    text = said(sweep)
    assert "outgrow the largest CUDA graph (8 tokens) between 8 and" in text
    assert "waited for KV blocks or were preempted" not in text


@pytest.mark.parametrize(("kv", "words"), [(False, "no request waits for KV"), (True, "requests also wait for KV")])
def test_the_pool_is_named_beside_the_knee_only_if_it_binds_as_well(kv: bool, words: str) -> None:
    found = LeftGraphs(192, 288, 0.83, 256, at_knee=True, waited_for_kv=kv)
    assert words in left_graphs_words(found, CONCURRENCY)
    assert "KV" not in left_graphs_words(replace(found, at_knee=False), CONCURRENCY)


def test_a_point_has_its_graphs_and_the_settings_name_them(sweep: Path, tmp_path: Path) -> None:
    text = said(sweep / "points/p4", "--verbose")
    assert "Graphs and padding" in text
    assert "The largest holds 8 tokens." in text
    page = tmp_path / "page.html"
    said(sweep / "points/p4", "--html", page)
    assert "FULL_AND_PIECEWISE, 4 sizes up to 8 tokens" in page.read_text()
