"""Two sides that were each measured several times, compared between these occasions."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from engine_probe.analysis.compare.changes import changes_between
from engine_probe.analysis.run.slo import Slo
from engine_probe.errors import InputError
from engine_probe.evaluation.comparison import Comparison, Pair, corrected_pairs, lacking, success_of
from engine_probe.evaluation.measurement import Opened, opened, refuse_twice, text_changes
from engine_probe.evaluation.setting_differences import setting_differences
from engine_probe.recordings.remote_folder import place_name

FEWEST = 2  # on each side, to know how far two measurements of the same engine differ


def compare_occasions(before: Sequence[Path], after: Sequence[Path], slo: Slo | None = None) -> Comparison:
    """Compare two sides of several runs or sweeps each; points that an occasion lacks are not compared."""
    check_folders(before, after)
    old, new = ([opened(folder) for folder in side] for side in (before, after))
    check_kinds([*before, *after], [*old, *new])
    return between(before, old, after, new, slo)


def between(
    before: Sequence[Path], old: Sequence[Opened], after: Sequence[Path], new: Sequence[Opened], slo: Slo | None = None
) -> Comparison:
    """Compare two sides of several opened measurements each.

    A text is scored by the first of each side: the windows judge it, and not how often it was scored.
    """
    names = [name for name in old[0].points if all(name in each.points for each in (*old, *new))]
    texts = text_changes(before[0], old[0].texts, after[0], new[0].texts)
    if not names:
        raise InputError(f"{before[0]} and the others have no point in common: nothing can be compared")
    pairs = corrected_pairs([pair_between(name, old, new, slo) for name in names])
    pairs += [Pair(name, [change], seconds=seconds) for name, (change, seconds) in texts.changes.items()]
    asked_before, asked_after = (
        dict.fromkeys(name for each in side for name in (*each.points, *each.notes)) for side in (old, new)
    )
    return Comparison(
        old[0].named(side_name(before)),
        new[0].named(side_name(after)),
        pairs,
        setting_differences(old[0].points[names[0]].runs[0], new[0].points[names[0]].runs[0]),
        only_before=[name for name in asked_before if name not in asked_after],
        only_after=[name for name in asked_after if name not in asked_before],
        unmeasured=[*(note for each in (*old, *new) for note in each.notes.values()), *texts.notes],
        missing=[*(name for name in asked_before if name in asked_after and name not in names), *texts.missing],
        occasions=(len(before), len(after)),
        unlike=(*unlike(before, old, names[0]), *unlike(after, new, names[0])),
    )


def check_folders(before: Sequence[Path], after: Sequence[Path]) -> None:
    for side, folders in (("before", before), ("after --against", after)):
        if len(folders) < FEWEST:
            raise InputError(
                f"--against tests between measurements, and there is {len(folders)} {side}: name at least {FEWEST} on "
                "each side"
            )
    refuse_twice([*before, *after])


def check_kinds(folders: Sequence[Path], found: Sequence[Opened]) -> None:
    for folder, each in zip(folders, found, strict=True):
        if each.kind != found[0].kind or each.kind == "perplexity result":
            first = f"{folders[0]} is a {found[0].kind} and {folder} a {each.kind}"
            raise InputError(f"{first}: --against compares several runs, or several sweeps")


def pair_between(name: str, old: Sequence[Opened], new: Sequence[Opened], slo: Slo | None) -> Pair:
    before, after = ([[run.summary(slo) for run in each.points[name].runs] for each in side] for side in (old, new))
    seconds = sum(summary.seconds for runs in after for summary in runs)
    lacks = lacking(*([summary for runs in side for summary in runs] for side in (before, after)))
    success = success_of([summary for runs in after for summary in runs])
    return Pair(name, changes_between(before, after), old[0].points[name].point, seconds, lacks, success=success)


def unlike(folders: Sequence[Path], side: Sequence[Opened], name: str) -> Iterator[str]:
    """Yield a sentence for each measurement whose settings are not those of the first of its side."""
    first = side[0].points[name].runs[0]
    for folder, each in zip(folders[1:], side[1:], strict=True):
        words = [
            f"{found.title} {found.before} → {found.after}"
            for found in setting_differences(first, each.points[name].runs[0])
        ]
        if words:
            yield f"{place_name(folder)} is not a repetition of {place_name(folders[0])}: {', '.join(words)}"


def side_name(folders: Sequence[Path]) -> str:
    more = f" and {len(folders) - 1} more" if len(folders) > 1 else ""
    return f"{place_name(folders[0])}{more}"
