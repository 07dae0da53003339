"""The section "Graphs and padding" says what was measured, and what follows from it as a bound."""

from engine_probe.analysis.batch.graphs import GraphUse, Leaving, ModeUse
from engine_probe.report.sections.run.graphs import graphs_section

MS = 1e6
MODES = (ModeUse("outside graphs", 10, 0.4, 3_000, 3_000), ModeUse("full graph", 90, 0.6, 900, 1_000))


def words(found: GraphUse | None) -> str:
    return " ".join(sentence.text for sentence in graphs_section(found).sentences)


def test_graphs_and_the_bounds_of_their_costs() -> None:
    found = GraphUse(MODES, 256, 0.3, 0.04, Leaving(256, (50, 60), (250.0, 275.0), (10 * MS, 18 * MS)))
    said = words(found)
    assert "60% of the time was spent in steps that ran in CUDA graphs. The largest holds 256 tokens." in said
    assert "2.5% of the computed tokens were padding, which took at most 4.0% of the forwards' time" in said
    assert "30% of the time was spent in decode steps outside graphs" in said
    assert "at least 7.00 ms more than in proportion to their tokens" in said
    (modes,) = graphs_section(found).tables
    assert modes.rows[1] == ("full graph", "90", "60.0%", "900", "1,000", "10.0%")


def test_nothing_is_claimed_that_was_not_measured() -> None:
    said = words(GraphUse(MODES, None, 0.0, None, None))
    assert "at most" not in said
    assert "decode steps" not in said
    assert "not more than their tokens explain" in words(
        GraphUse(MODES, 256, 0.3, None, Leaving(256, (50, 60), (250.0, 275.0), (10 * MS, 11 * MS)))
    )
    assert graphs_section(None).sentences == ()
