"""A sweep whose prefix cache evicts prefixes has a table column, a sentence and a chart of it."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import CliRunner

from engine_probe.analysis.run.prefix_cache import cache_loss
from engine_probe.commands.report import command
from engine_probe.recordings.curve import curves
from engine_probe.recordings.sweep import open_sweep
from tests.support.recordings.run_folders import facts, ran, write_run
from tests.support.values import has_values

FOUND = {1: 24, 2: 24, 4: 24, 14: 12, 20: 0}  # of the 48 tokens of each prompt


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Write a sweep with a pool for ten requests, which find half of their prompts until the pool is full."""
    points = []
    for level, found in FOUND.items():
        tables = ran(level)
        cached = pa.array([found] * level, pa.int32())
        place = tables["requests"].schema.get_field_index("cached_tokens")
        tables["requests"] = tables["requests"].set_column(
            place, tables["requests"].schema.field("cached_tokens"), cached
        )
        told = facts()
        told["kv"]["prefix_caching"] = True
        write_run(tmp_path / f"points/p{level}", tables, told)
        points.append({"id": f"p{level}", "point": {"concurrency": level}, "status": "complete"})
    (tmp_path / "sweep.json").write_text(json.dumps({"sweep": {"question": "Who is forgotten?"}, "points": points}))
    return tmp_path


def said(*arguments: object) -> str:
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


@pytest.mark.lengthy
def test_evicted_prefixes_are_reported(sweep: Path) -> None:
    """20 requests schedule 2,135 tokens, and would have found half of their 960 prompt tokens: 22 %."""
    (curve,) = curves(open_sweep(sweep).points)
    loss = cache_loss(curve.cache)
    assert loss is not None
    levels = [(level.load, level.share) for level in (loss.kept, loss.first, loss.last)]
    assert levels == [(4, 0.5), (14, 0.25), (20, 0)]
    assert round(loss.computed_again, 2) == 0.22
    text = said(sweep, "--verbose")
    assert has_values(text, "50%", "4", "25%", "14", "0%", "20")
    assert has_values(text, "22%", "20")


@pytest.mark.lengthy
def test_the_page_draws_it(sweep: Path, tmp_path: Path) -> None:
    said(sweep, "--html", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert page.count("Prefix cache hit rate") > 2
    assert "prefix cache hit rate" in page
