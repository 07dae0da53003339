"""What a figure is worth: pure functions from figures to verdicts, each with its reasons.

A wrong result fails whatever its speed. A figure taken under conditions that are not the card's own is invalid.
Then it is held against what is known: a mark set for this card, its maker's document, a saved run, its neighbours.
Where nothing is known nothing is claimed: MEASURED.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kernels_bench.devices.specifications import Specification, held_to
from kernels_bench.output.words import quantity
from kernels_bench.results import (
    FAIL,
    INVALID,
    MEASURED,
    PASS,
    SKIPPED,
    WARN,
    Figure,
    Health,
    Reading,
    Verdict,
)

Said = tuple[Verdict, str]

NO_MARK = "no pass mark known"
ORDER: tuple[Verdict, ...] = (SKIPPED, MEASURED, PASS, WARN, INVALID, FAIL)

# The marks of "05 — Benchmarks for L40S x12": name of the card -> (test, name of the figure) -> the least.
MARKS: dict[str, dict[tuple[str, str], float]] = {
    "NVIDIA L40S": {("memory", "copy"): 0.72e12, ("gemm", "bf16 square"): 150e12},
}
# Another card has no mark of its own. These are the L40S's as shares of its own datasheet: 0.72 of 0.864 TB/s,
# 150 of 362.05 TFLOPS. Falling short of such a share is a reason to look; of half of it, to send the card back.
SHARES = {("memory", "copy"): 0.72 / 0.864, ("gemm", "bf16 square"): 150 / 362.05}

# Cards of one model in one box were seen to differ by 5 % (ml-engineering). No good one was seen to lack a fifth.
ALIKE, FAR = 0.05, 0.2
MANY_SHAPES = 200  # the best of a few lies lower

# Rates are written down for one clock. Cards may run faster: an H100 at 1980 MHz has 8 % more than its sheet's BF16
# rate, which is for 1830, and cards for games go on as far as power and heat let them.
CLOCK_ROOM = 0.15

SLOWED = {8: "hardware slowdown", 32: "too hot (driver)", 64: "too hot (hardware)", 128: "power brake"}


def judge(
    figure: Figure,
    card: str,
    invalid: Sequence[str],
    specification: Specification | None,
    baseline: Figure | None,
    tolerance: float,
) -> tuple[Verdict, tuple[str, ...]]:
    if figure.check and not figure.check.passed:
        worst = f"{figure.check.worst:.3g} times what rounding explains"
        return FAIL, (f"wrong result against {figure.check.against}: {worst}, {figure.check.compared} values compared",)
    if invalid:
        return INVALID, tuple(invalid)
    said: list[Said] = [
        *by_mark(figure, card),
        *by_others(figure, specification),
        *by_specification(figure, card, specification),
        *by_baseline(figure, baseline, tolerance),
    ]
    if not said:
        said = [(MEASURED, NO_MARK)]
    verdict = worst_of(verdict for verdict, _ in said)
    reasons = [reason for _, reason in said]
    if not figure.samples.stable:
        reasons.append("unstable")
        verdict = WARN if verdict == PASS else verdict
    return verdict, tuple(reasons)


def by_mark(figure: Figure, card: str) -> list[Said]:
    mark = MARKS.get(card, {}).get((figure.test, figure.name))
    if mark is None:
        return []
    verdict = PASS if figure.value > mark else FAIL
    return [(verdict, f"the mark for this card is {quantity(mark, figure.unit)}")]


def by_specification(figure: Figure, card: str, specification: Specification | None) -> list[Said]:
    ceiling = specification.ceiling(figure.test, figure.name) if specification else None
    if specification is None or ceiling is None:
        return []
    share = figure.value / ceiling
    text = f"{share:.0%} of {quantity(ceiling, figure.unit)} ({specification.source})"
    if specification.doubted(figure.test, figure.name):
        return [(MEASURED, f"{text}, which nothing public confirms, so nothing is judged by it")]
    if share > (1 if held_to(figure.test, figure.name) in ("memory", "pcie") else 1 + CLOCK_ROOM):
        return [(WARN, f"{text}: more than the document allows, so the card, the row or the clock is not as written")]
    key = (figure.test, figure.name)
    if key in MARKS.get(card, {}) or key not in SHARES or " ".join(key) in specification.seen:
        return [(MEASURED, text)]
    if share < SHARES[key] / 2:
        return [(FAIL, f"{text}; not even half of the {SHARES[key]:.0%} that is the L40S's mark")]
    verdict = PASS if share > SHARES[key] else WARN
    return [(verdict, f"{text}; the L40S's mark is {SHARES[key]:.0%} of its own")]


def by_others(figure: Figure, specification: Specification | None) -> list[Said]:
    """What others measured is no promise of the maker's, but what such a card can do."""
    seen = specification.seen.get(f"{figure.test} {figure.name}") if specification else None
    if specification is None or seen is None:
        return []
    change = gain(figure, seen)
    text = f"{change:+.1%} against the {quantity(seen, figure.unit)} of such a card ({specification.seen_by})"
    if figure.name.endswith("best shape") and int(figure.detail.get("shapes_tried", 0)) < MANY_SHAPES:
        return [(MEASURED, f"{text}, of many more shapes")]
    return [(PASS if change >= -ALIKE else WARN if change >= -FAR else FAIL, text)]


def by_baseline(figure: Figure, baseline: Figure | None, tolerance: float) -> list[Said]:
    if baseline is None:
        return []
    if not same_shape(figure, baseline):
        shapes = " and ".join("×".join(str(each.detail[side]) for side in "mnk") for each in (baseline, figure))
        return [(MEASURED, f"not compared with the baseline: the shapes differ, {shapes}")]
    change = gain(figure, baseline.value)
    text = f"{change:+.1%} against the baseline's {quantity(baseline.value, baseline.unit)}"
    if change >= -tolerance:
        return [(PASS, text)]
    if not figure.samples.stable or not baseline.samples.stable:
        return [(WARN, f"{text}, but one of the two is unstable: run again on a quiet machine")]
    return [(FAIL, f"{text}, allowed is {-tolerance:.0%}")]


def same_shape(figure: Figure, baseline: Figure) -> bool:
    """The best of a search may lie at another shape; all else is compared like with like."""
    if figure.name.endswith("best shape"):
        return True
    return all(figure.detail.get(side) == baseline.detail.get(side) for side in "mnk")


def invalid_conditions(
    test: str, readings: Iterable[Reading], before: Health, newcomers: Sequence[int] = ()
) -> list[str]:
    """Why a figure taken then and there is not the card's."""
    reasons, seen = [], list(readings)
    if before.mig:
        reasons.append("a MIG slice is not the card: switch MIG off to judge it")
    users = [*(before.processes or ()), *newcomers]
    if users:
        reasons.append(f"other processes are on the card: {', '.join(map(str, users))}")
    bits = 0
    for reading in seen:
        bits |= reading.slowed_by or 0
    slowed = [words for bit, words in SLOWED.items() if bits & bit]
    if slowed:
        hottest = max((reading.temperature_c or 0 for reading in seen), default=0)
        reasons.append(f"slowed down while it ran: {', '.join(slowed)}" + (f", {hottest} °C" if hottest else ""))
    if test == "pcie":
        reasons += _narrow_link(seen, before)
    return reasons


def _narrow_link(readings: Sequence[Reading], before: Health) -> list[str]:
    """Links rest at a low generation and wake under load: the best of the readings counts."""
    reasons = []
    for what, seen, most in (
        ("generation", [reading.pcie_generation for reading in readings], before.pcie_generation_max),
        ("width", [reading.pcie_width for reading in readings], before.pcie_width_max),
    ):
        known = [value for value in seen if value]
        if known and most and max(known) < most:
            reasons.append(f"PCIe {what} under load is {max(known)}, this slot allows {most}: reseat the card")
    return reasons


def gain(figure: Figure, reference: float) -> float:
    """How much better, as a share: more for a rate, less for a time."""
    return reference / figure.value - 1 if figure.unit == "ns" else figure.value / reference - 1


def worst_of(verdicts: Iterable[Verdict]) -> Verdict:
    return max(verdicts, key=ORDER.index)
