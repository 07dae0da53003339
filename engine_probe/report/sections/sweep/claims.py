"""Published claims in words, each beside what was measured of it here."""

from collections import Counter
from collections.abc import Sequence

from engine_probe.evaluation.published.claims import Holds, JudgedClaim
from engine_probe.evaluation.published.reference import Reference
from engine_probe.report.document import Cell, Column, Section, Sentence, Tone, sure, table
from engine_probe.text_format import counted

TITLES = ("claim", "published", "measured here", "verdict", Column("doubts", words=True, room="page"))
TONES: dict[Holds, Tone] = {"holds": "problem", "not shown": "plain", "does not hold": "good", "not measured": "soft"}
HOW = (
    "A claim about load holds if the test of its measure over the loads is significant in the claim's direction, "
    "corrected for all measures of its section (Holm). Not shown: the test is not significant, which is no proof that "
    "load has no effect. Does not hold: what was measured contradicts the claim, or an effect above the margin is "
    "excluded. Latencies are of answered requests: with a deadline none is longer."
)


def claims_section(reference: Reference, found: Sequence[JudgedClaim], label: str = "") -> Section:
    """Return the claims of one curve. Empty if the source has none, or nothing was measured."""
    if not found:
        return Section()
    rows = [
        (
            each.claim.claim,
            each.claim.published,
            each.finding.words,
            Cell(each.finding.holds, TONES[each.finding.holds]),
            each.claim.doubt,
        )
        for each in found
    ]
    return Section(
        f"Published claims: {reference.title}{f', {label}' if label else ''}",
        sentences=(Sentence(tally(found)),),
        tables=(table(TITLES, rows, words=range(4)),),
        details=sure(HOW),
        shown="always",
        asked=True,
    )


def tally(found: Sequence[JudgedClaim]) -> str:
    """Count the claims by verdict: `Of 12 claims 2 hold here, 1 does not, 6 are not shown and 3 not measured.`"""
    counts = Counter(each.finding.holds for each in found)
    parts = [f"{counts[verdict]} {words}" for verdict, words in WORDS.items() if counts[verdict]]
    return f"Of {counted(len(found), 'claim')}: {', '.join(parts)}."


WORDS: dict[Holds, str] = {
    "holds": "hold here",
    "does not hold": "contradicted",
    "not shown": "not shown",
    "not measured": "not measured",
}
