"""The section "Speculative decoding": acceptance by position, and what a step gave a request."""

from collections.abc import Iterator

from engine_probe.analysis.batch.speculation import Speculation
from engine_probe.report.document import Section, says, table
from engine_probe.text_format import counted

TITLE = "Speculative decoding"


def speculation_section(found: Speculation | None) -> Section:
    """Return nothing for a run without drafts."""
    if found is None:
        return Section()
    rows = (
        (str(place), f"{each.drafted:,}", f"{each.accepted:,}", f"{each.share:.1%}")
        for place, each in enumerate(found.positions, 1)
    )
    positions = table(("position in the draft", "drafted", "accepted", "share"), rows)
    return Section(TITLE, sentences=says(speculation_words(found)), tables=(positions,))


def speculation_words(found: Speculation) -> Iterator[str]:
    drafted, length = counted(found.drafted_tokens, "draft token"), found.drafted_tokens / found.drafts
    yield (
        f"{found.share:.1%} of {drafted} were accepted: {found.accepted_length:.2f} of the {length:.2f} in an average "
        "draft."
    )
    yield (
        f"A decode step gave a request {found.tokens_per_step:.2f} tokens on average, steps without a draft included. "
        "Whether drafts pay at a load is known only beside a run without them."
    )
