"""The throughput of a level has one interval: in sentences, tables, charts, on the frontier and in JSON."""

from __future__ import annotations

import pytest

from engine_probe.analysis.pareto import served_by, serving_curve
from engine_probe.analysis.statistics.repeats import rate_and_reach, reach_words
from engine_probe.recordings.curve import Curve, curves
from engine_probe.recordings.sweep import open_sweep
from engine_probe.report.charts.sweep import throughput_charts
from engine_probe.report.document import cell_words
from engine_probe.report.renderers.json import curve_figures
from engine_probe.report.sections.experiment.verdict import outcome
from engine_probe.report.sections.sweep.levels import level_tables
from engine_probe.report.sections.sweep.verdict import sweep_verdicts
from tests.support.sweeps.serving_sweeps import write_serving_sweep

LOADS = (1, 4, 8, 16, 32, 64, 128)  # from 32 on throughput hardly grows


@pytest.fixture(scope="module")
def curve(tmp_path_factory: pytest.TempPathFactory) -> Curve:
    folder = write_serving_sweep(tmp_path_factory.mktemp("sweep"), (1,), LOADS, noise=0.1, repeats=3)
    (found,) = curves(open_sweep(folder).points)
    return found


def test_the_highest_was_chosen_from_several(curve: Curve) -> None:
    """Otherwise the tests below could not fail."""
    found = curve.found
    assert found.best is not None
    assert found.noise is not None
    assert found.not_different
    place = found.levels.index(found.best)
    alone, chosen = found.noise.interval(place, 3), found.noise.throughput_interval(place, 3)
    assert reach_words(alone) != reach_words(chosen)


def test_sentences_and_the_table_have_it(curve: Curve) -> None:
    assert curve.found.best is not None
    best = curve.found.best
    words = rate_and_reach(curve.found.interval(best))
    assert any(f"Highest throughput: {words} " in line.text for line in sweep_verdicts(curve))
    assert any(f"({words} " in line for line in outcome(curve))
    (table,) = level_tables([curve])
    rates = {cell_words(row[0]): cell_words(row[1]) for row in table.rows}
    assert rates == {f"{level.load:g}": rate_and_reach(curve.found.interval(level)) for level in curve.found.levels}


def test_the_chart_json_and_the_frontier_have_it(curve: Curve) -> None:
    expected = [curve.found.interval(level) for level in curve.found.levels]
    (chart,) = throughput_charts([curve])
    assert chart.series[0].low == pytest.approx([max(each.low or 0.0, 0.0) for each in expected], rel=1e-3)
    assert chart.series[0].high == pytest.approx([each.high for each in expected], rel=1e-3)
    written = [level["figures"] for level in curve_figures(curve)["levels"]]
    assert [figures["output_tokens_per_s"] for figures in written] == expected
    frontier = serving_curve("", curve.unit, served_by(curve.figures))
    assert frontier is not None
    assert [level.per_gpu for level in frontier.levels] == expected
