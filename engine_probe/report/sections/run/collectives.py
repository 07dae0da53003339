"""Work and waiting of the ranks that share each layer: bars by rank, and the rank that the others waited for."""

from collections.abc import Iterator
from typing import Any

from engine_probe.analysis.step.collectives import CollectiveWaits
from engine_probe.analysis.step.operators import DEVICE
from engine_probe.report.document import Bars, Section, Sentence, Table, says, table, time_bar
from engine_probe.text_format import counted, duration

TITLE = "Waiting inside collectives"
NAMED = 0.02  # of the forwards' time; less waiting has no straggler
CAUTION = 0.1
PAINTS = {"work": "c1", "communication": "c3", "waiting": "c7 pale"}


def collectives_section(found: CollectiveWaits | None, facts: dict[str, Any]) -> Section:
    """Return what each rank waited for the others, or why a recording with tensor parallelism does not tell."""
    if found is None:
        return Section(TITLE, sentences=says(missing_words(facts), "soft"))
    return Section(
        TITLE,
        sentences=(*says(share_words(found)), *straggler_words(found), *says(cost_words(found, facts), "soft")),
        bars=(rank_bars(found),),
        tables=(rank_table(found),),
    )


def missing_words(facts: dict[str, Any]) -> Iterator[str]:
    ranks = facts.get("workers", {}).get("ranks", ())
    for reason in dict.fromkeys(rank["collectives_missing"] for rank in ranks if rank.get("collectives_missing")):
        yield f"Waiting for other ranks is not told apart from work: {reason}."


def share_words(found: CollectiveWaits) -> Iterator[str]:
    total = sum(rank.forward_ns for rank in found.ranks)
    communicating = sum(rank.communicating_ns for rank in found.ranks) / total
    where = "the GPUs' kernels in the window of operators" if found.place == DEVICE else "the host's clock"
    yield (
        f"Of the time of the forwards, {found.waiting_share:.1%} was waiting for another rank inside collectives, "
        f"{communicating:.1%} was communication, and {1 - found.waiting_share - communicating:.1%} was work, by "
        f"{where} ({counted(found.steps, 'step')}, {found.collectives:.0f} collectives in each)."
    )


def cost_words(found: CollectiveWaits, facts: dict[str, Any]) -> Iterator[str]:
    """Say what the probe's noting took: all of it where that was measured, else the part that its clock sees."""
    ranks = [rank for rank in facts.get("workers", {}).get("ranks", ()) if rank.get("collectives_probe_ns")]
    if not ranks or found.place == DEVICE:
        return
    forwards = {rank.rank: rank.forward_ns for rank in found.ranks}
    measured = (facts.get("hardware") or {}).get("probe_collective_ns")
    if isinstance(measured, int | float):
        each, shortest = found.collectives * measured, min(forwards.values())
        yield (
            f"Noting these times took a rank {duration(each)} of each forward ({each / shortest:.2%}): "
            f"{duration(measured)} for a collective, as `engine_probe overhead` measured on this machine."
        )
        return
    most = max(ranks, key=lambda rank: rank["collectives_probe_ns"])
    each = most["collectives_probe_ns"] / most["collectives"]
    share = f"{duration(each)} of each forward ({each / forwards[most['rank']]:.2%})"
    yield f"Noting these times took rank {most['rank']} {share}, at least; `engine_probe overhead` measures all of it."


def straggler_words(found: CollectiveWaits) -> Iterator[Sentence]:
    if found.waiting_share < NAMED:
        return
    late, longest = found.straggler, max(found.ranks, key=lambda rank: rank.waiting_ns)
    share = f"{found.caused_share:.0%} of the waiting was for {'it' if late.late else f'rank {late.rank}'}"
    name = f"Rank {late.rank} was the straggler" if late.late else "No rank was surely the straggler"
    text = (
        f"{name}: {share} ({1 / len(found.ranks):.0%} by chance). Rank {longest.rank} waited longest, "
        f"{duration(longest.waiting_ns)} of an average forward of {duration(longest.forward_ns)}."
    )
    yield Sentence(text, "caution" if found.waiting_share >= CAUTION else "plain")


def rank_bars(found: CollectiveWaits) -> Bars:
    longest = max(rank.forward_ns for rank in found.ranks)
    bars = (
        time_bar(
            f"rank {rank.rank}",
            {"work": rank.work_ns, "communication": rank.communicating_ns, "waiting": rank.waiting_ns},
            PAINTS,
            longest,
        )
        for rank in found.ranks
    )
    note = "Means over the steps. The rank that begins a collective last does not wait in it, and the others do."
    return Bars("A forward on each rank", note, tuple(bars))


def rank_table(found: CollectiveWaits) -> Table:
    rows = (
        (
            str(rank.rank),
            *map(duration, (rank.forward_ns, rank.work_ns, rank.communicating_ns, rank.waiting_ns)),
            f"{rank.waiting_ns / rank.forward_ns:.1%}",
            duration(rank.caused_ns),
        )
        for rank in found.ranks
    )
    return table(("rank", "forward", "work", "communication", "waiting", "share", "waiting of others for it"), rows)
