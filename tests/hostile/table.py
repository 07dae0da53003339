"""What a campaign came to, as lines of Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from tests.hostile.files.campaign import Outcome
from tests.hostile.page import HANG, OTHER, OUTSIDE, TRACEBACK, Verdict

KINDS = {
    "traceback": "tracebacks",
    "signal": "crashes",
    "hang": "hangs",
    "memory": "out of memory",
    "outside": "files outside",
    "exit code": "other exit codes",
    "words": "no single sentence",
    "escape": "control characters",
}
VERDICTS = {"traceback": TRACEBACK, "signal": TRACEBACK, "hang": HANG, "outside": OUTSIDE}


def verdict(outcomes: Sequence[Outcome], unknown: Sequence[str]) -> Verdict:
    wrong = Counter(VERDICTS.get(failure.kind, OTHER) for outcome in outcomes for failure in outcome.failures)
    commands = sum(outcome.codes.total() for outcome in outcomes)
    return Verdict(f"{len(outcomes):,} mutated inputs, {commands:,} commands", wrong, unknown)


def lines(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """A row for each kind of file: inputs, commands, how they ended, what went wrong."""
    yield f"| file | mutated inputs | commands | exit 0 | 1 | 2 | 3 | {' | '.join(KINDS.values())} |"
    yield "|---|--:|--:|--:|--:|--:|--:|" + "--:|" * len(KINDS)
    for name in dict.fromkeys(outcome.job.name for outcome in outcomes):
        yield row(name, [outcome for outcome in outcomes if outcome.job.name == name])
    yield row("**all**", outcomes)


def row(name: str, outcomes: Sequence[Outcome]) -> str:
    codes = sum((outcome.codes for outcome in outcomes), Counter[int]())
    wrong = Counter(failure.kind for outcome in outcomes for failure in outcome.failures)
    ended = [codes[code] for code in (0, 1, 2, 3)]
    cells = [len(outcomes), codes.total(), *ended, *(wrong[kind] for kind in KINDS)]
    return f"| {name} | {' | '.join(f'{cell:,}' for cell in cells)} |"
