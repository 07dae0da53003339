"""The section "Speculative decoding" says what was accepted, and claims no gain."""

from engine_probe.analysis.batch.speculation import Position, Speculation
from engine_probe.report.sections.run.speculation import speculation_section


def test_the_figures_and_their_positions() -> None:
    section = speculation_section(Speculation(100, 300, 150, 200, (Position(100, 80), Position(100, 50))))
    first, second = (sentence.text for sentence in section.sentences)
    assert first.startswith("50.0% of 300 draft tokens were accepted: 1.50 of the 3.00 in an average draft")
    assert "1.75 tokens on average" in second
    assert section.tables[0].rows[1] == ("2", "100", "50", "50.0%")
    assert speculation_section(None).sentences == ()
