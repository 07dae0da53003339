"""The document that holds the tables: what was simulated, when each claim is true, and a section for each run.

A section is replaced by name and all others are kept, so that figures before a change stay beside those after it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from tools.calibration.claims import COSTLY, FALSE_ALARMS, POINTS, TOPICS
from tools.calibration.noise import KINDS
from tools.calibration.shapes import DRAWS, HAIR, TRACE
from tools.calibration.sweeps import DEVIATIONS, MOST_REPEATS
from tools.calibration.table import LEGEND, definitions


def introduction() -> Iterator[str]:
    """Yield what precedes the sections; it is written anew each time."""
    yield from (
        "# How often conclusions are true",
        "",
        "Written by `make measure-calibration`. Simulated measurements whose truth is known are handed to the",
        "functions with which engine_probe judges real ones. What these conclude is held against the truth.",
        "",
        f"**The bounds.** False alarms: at most {FALSE_ALARMS:.0%} where a test is meant to have 5 %. A statement that",
        f"is p % sure is true in p % of the cases, ± {100 * POINTS:.0f} points; an interval contains the truth in at",
        f"least {0.95 - POINTS:.0%}. Operating where a report says costs more than 5 % of the best throughput in under",
        f"{COSTLY:.0%} of the cases.",
        "",
        "**The intervals** of a share are Wilson's, widened because claims about one sweep are not independent.",
        LEGEND,
        "",
        f"**The sweeps.** 5 to 15 levels (powers of two, even or growing steps), 1 to {MOST_REPEATS} repeats, noise",
        f"of {DEVIATIONS[0]:.0%} to {DEVIATIONS[1]:.0%}. Curves: {', '.join(DRAWS)}.",
        "Growth that fades has no end that all would agree on, so its end is a stretch: from where less than",
        f"{HAIR:.0%} is left to gain to where less than {TRACE:.1%} is.",
        "",
        "**The noise.** Every kind has the same root mean square; where it is shared, each run adds a third of it.",
        "",
        *(f"- {name}: {meaning}." for name, meaning in KINDS.items()),
        "- runs with a drain: each run has a fixed number of requests, 2 to 8 for each place in flight, with drawn",
        "  answer lengths; its throughput is that of the whole run. Left out of the first table.",
        "",
        "## When a claim is true",
    )
    for part in dict.fromkeys(topic.part for topic in TOPICS.values()):
        yield from ("", f"### {part.capitalize()}: claims", "", *definitions(part))


def section(name: str, commit: str, command: str, lines: Sequence[str]) -> str:
    """Return a section with its tables, and how it was made."""
    return "\n".join([f"## Measured: {name}", "", f"Commit {commit}, `{command}`.", *lines, ""])


def written(old: str, name: str, text: str) -> str:
    """Return the document with one section replaced or added at its end."""
    sections = {
        found.group(1): found.group(0).rstrip() + "\n"
        for found in re.finditer(r"^## Measured: (.*)\n(?:(?!^## ).*\n?)*", old, re.MULTILINE)
    }
    sections[name] = text.rstrip() + "\n"
    return "\n".join(["\n".join(introduction()) + "\n", *sections.values()])
