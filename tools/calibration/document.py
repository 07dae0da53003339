"""The document that holds the tables: what was simulated, a section for each measurement, when each claim is true.

A section is replaced by name and all others are kept, so that figures before a change stay beside those after it. The
one written last comes first.
"""

import re
from collections.abc import Iterator, Sequence

from tools.calibration.claims import COSTLY, FALSE_ALARMS, NOMINAL, PARTS, POINTS
from tools.calibration.simulated.noise import KINDS
from tools.calibration.simulated.shapes import DRAWS, HAIR, TRACE
from tools.calibration.simulated.sweeps import DEVIATIONS, MOST_REPEATS
from tools.calibration.table import LEGEND, definitions

SECTION = re.compile(r"^## Measured: (.*)\n(?:(?!^## ).*\n?)*", re.MULTILINE)


def percent(share: float) -> str:
    return f"{100 * share:g} %"


def introduction() -> Iterator[str]:
    """Yield what precedes the sections."""
    yield from (
        "# How often conclusions are true",
        "",
        "Written by `make measure-calibration`. Simulated measurements whose truth is known are handed to the",
        "functions with which engine_probe judges real ones. What these conclude is held against the truth.",
        "",
        f"**The bounds.** False alarms: at most {percent(FALSE_ALARMS)} where a test is meant to have 5 %. A statement",
        f"that is p % sure is true in p % of the cases, ± {100 * POINTS:g} points; an interval of 95 % contains the",
        f"truth in at least {percent(NOMINAL['coverage'] - POINTS)}. Operating at a load costs more than 5 % of the",
        f"best throughput in under {percent(COSTLY)} of the cases.",
        "",
        "**The verdicts.** The interval of a share is Wilson's, widened because claims about one sweep are not",
        "independent.",
        *LEGEND,
        "",
        "**The sections.** `latest` begins with what fails. The claims are defined at the end.",
        "",
        f"**The sweeps.** 5 to 15 levels (powers of two, even or growing steps), 1 to {MOST_REPEATS} repeats, noise of",
        f"{percent(DEVIATIONS[0])} to {percent(DEVIATIONS[1])}; every curve under every noise equally often. Curves:",
        "; ".join(DRAWS) + ".",
        "Growth that fades has no end that all would agree on, so its end is a stretch: from where less than",
        f"{percent(HAIR)} is left to gain to where less than {percent(TRACE)} is.",
        "",
        "**The noise.** Every kind has the same root mean square; where it is shared, each run adds a third of it.",
        "",
        *(f"- {name}: {meaning}." for name, meaning in KINDS.items()),
        "- drain: independent, and each run has a fixed number of requests with drawn answer lengths, 2 to 8 for each",
        "  place in flight, or as many at every load as that is at the highest. Its throughput is that of the part",
        "  in which its load was held (where fewer than two were, of the whole run).",
        "  Left out of the table of verdicts.",
        "",
    )


def appendix() -> Iterator[str]:
    """Yield what follows the sections."""
    yield "## When a claim is true"
    for part in PARTS:
        yield from ("", f"**{part.capitalize()}**", "", *definitions(part))


def section(name: str, commit: str, command: str, lines: Sequence[str]) -> str:
    """Return a section with its tables, and how it was made."""
    return "\n".join([f"## Measured: {name}", "", f"Commit {commit}, {command}.", *lines, ""])


def written(old: str, name: str, text: str) -> str:
    """Return the document with one section added or replaced, before the others, and the rest written anew."""
    others = {found.group(1): found.group(0).rstrip() + "\n" for found in SECTION.finditer(old)}
    sections = {name: text.rstrip() + "\n"} | {other: others[other] for other in others if other != name}
    return "\n".join([*introduction(), *sections.values(), *appendix(), ""])
