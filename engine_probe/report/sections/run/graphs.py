"""The section "Graphs and padding": how the forwards ran, and what padding and steps outside the graphs cost."""

from collections.abc import Iterator

from engine_probe.analysis.batch.graphs import MODES, OUTSIDE, GraphUse, Leaving, ModeUse
from engine_probe.report.document import Section, Table, says, table
from engine_probe.text_format import duration

TITLE = "Graphs and padding"


def graphs_section(found: GraphUse | None) -> Section:
    """Return nothing for an engine without graphs and without padding."""
    if found is None:
        return Section()
    return Section(TITLE, sentences=says(graph_words(found)), tables=(mode_table(found),))


def graph_words(found: GraphUse) -> Iterator[str]:
    inside = sum(mode.time_share for mode in found.modes if mode.name != MODES[OUTSIDE])
    largest = f" The largest holds {found.largest:,} tokens." if found.largest else ""
    yield f"{inside:.0%} of the time was spent in steps that ran in CUDA graphs.{largest}"
    padding = f"{found.padding_share:.1%} of the computed tokens were padding"
    if found.padding_cost is None:
        yield f"{padding}."
    else:
        yield (
            f"{padding}, which took at most {found.padding_cost:.1%} of the forwards' time on the GPU (each forward's "
            "time x its share of padding; less, as far as a forward's time does not depend on its tokens)."
        )
    if found.decode_beyond:
        yield (
            f"{found.decode_beyond:.0%} of the time was spent in decode steps outside graphs with more tokens than the "
            "largest graph holds."
        )
    if found.leaving:
        yield leaving_words(found.leaving)


def leaving_words(found: Leaving) -> str:
    measured = (
        f"Decode steps just below that size ({found.tokens[0]:,.0f} tokens, median of {found.steps[0]:,}) took "
        f"{duration(found.ns[0])}, those just above ({found.tokens[1]:,.0f} tokens, median of {found.steps[1]:,}) "
        f"{duration(found.ns[1])}"
    )
    if not found.least_ns:
        return f"{measured}: not more than their tokens explain."
    return (
        f"{measured}: at least {duration(found.least_ns)} more than in proportion to their tokens, which is what "
        "leaving the graphs cost each of them."
    )


def mode_table(found: GraphUse) -> Table:
    titles = ("forwards", "steps", "of the time", "tokens asked", "tokens computed", "padding")
    return table(titles, map(mode_row, found.modes))


def mode_row(mode: ModeUse) -> tuple[str, ...]:
    asked, computed = (f"{tokens:,}" for tokens in (mode.asked_tokens, mode.computed_tokens))
    return mode.name, f"{mode.steps:,}", f"{mode.time_share:.1%}", asked, computed, f"{mode.padding_share:.1%}"
