"""Verdicts on figures, each with its reasons.

A wrong result fails, whatever its speed. A figure taken under wrong conditions is invalid. Others are compared with
what is known: a mark for this GPU, its maker's document, what others measured, a saved run. If nothing is known, the
verdict is MEASURED.
"""

from collections.abc import Iterable, Sequence

from kernels_bench.devices.specifications import Specification, limiting_column
from kernels_bench.output.quantities import quantity
from kernels_bench.results import FAIL, INVALID, MEASURED, PASS, SKIPPED, WARN, Figure, Health, Reading, Verdict

Judgement = tuple[Verdict, str]  # with its reason

NO_MARK = "no pass mark known"
ORDER: tuple[Verdict, ...] = (SKIPPED, MEASURED, PASS, WARN, INVALID, FAIL)

# Marks from "05 — Benchmarks for L40S x12": name of the GPU -> (test, name of the figure) -> least value.
MARKS: dict[str, dict[tuple[str, str], float]] = {
    "NVIDIA L40S": {("memory", "copy"): 0.72e12, ("gemm", "bf16 square"): 150e12}
}
# Other GPUs have no marks. These are the L40S's marks as shares of its datasheet: 0.72 of 0.864 TB/s, 150 of
# 362.05 TFLOP/s. A GPU below such a share is worth a look; one below half of it is faulty.
SHARES = {("memory", "copy"): 0.72 / 0.864, ("gemm", "bf16 square"): 150 / 362.05}

# GPUs of one model in one machine were seen to differ by 5 % (ml-engineering), good ones never by a fifth.
ALIKE, FAR = 0.05, 0.2
MANY_SHAPES = 200  # the best of fewer shapes is lower

# Documented rates are for one clock, and GPUs may run faster: an H100 at 1980 MHz reaches 8 % more than its BF16 rate,
# which is for 1830 MHz, and gaming GPUs run as fast as power and temperature allow.
CLOCK_MARGIN = 0.15

SLOWED = {8: "hardware slowdown", 32: "too hot (driver)", 64: "too hot (hardware)", 128: "power brake"}


def judge(
    figure: Figure,
    model: str,
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
    judgements: list[Judgement] = [
        *by_mark(figure, model),
        *by_others(figure, specification),
        *by_specification(figure, model, specification),
        *by_baseline(figure, baseline, tolerance),
    ]
    if not judgements:
        judgements = [(MEASURED, NO_MARK)]
    verdict = worst_of(verdict for verdict, _ in judgements)
    reasons = [reason for _, reason in judgements]
    if not figure.samples.stable:
        reasons.append("unstable")
        verdict = WARN if verdict == PASS else verdict
    return verdict, tuple(reasons)


def by_mark(figure: Figure, model: str) -> list[Judgement]:
    mark = MARKS.get(model, {}).get((figure.test, figure.name))
    if mark is None:
        return []
    verdict = PASS if figure.value > mark else FAIL
    return [(verdict, f"the mark for this GPU is {quantity(mark, figure.unit)}")]


def by_specification(figure: Figure, model: str, specification: Specification | None) -> list[Judgement]:
    ceiling = specification.ceiling(figure.test, figure.name) if specification else None
    if specification is None or ceiling is None:
        return []
    share = figure.value / ceiling
    text = f"{share:.0%} of {quantity(ceiling, figure.unit)} ({specification.source})"
    column = limiting_column(figure.test, figure.name)
    if column in specification.unconfirmed:
        return [(MEASURED, f"{text}, which nothing public confirms, so nothing is judged by it")]
    if share > (1 if column in ("memory", "pcie") else 1 + CLOCK_MARGIN):
        return [(WARN, f"{text}: more than the document allows, so the GPU, the row or the clock is not as written")]
    key = (figure.test, figure.name)
    if key in MARKS.get(model, {}) or key not in SHARES or " ".join(key) in specification.seen:
        return [(MEASURED, text)]
    if share < SHARES[key] / 2:
        return [(FAIL, f"{text}; not even half of the {SHARES[key]:.0%} that is the L40S's mark")]
    verdict = PASS if share > SHARES[key] else WARN
    return [(verdict, f"{text}; the L40S's mark is {SHARES[key]:.0%} of its own")]


def by_others(figure: Figure, specification: Specification | None) -> list[Judgement]:
    """Compare a figure with what others measured on such a GPU."""
    seen = specification.seen.get(f"{figure.test} {figure.name}") if specification else None
    if specification is None or seen is None:
        return []
    change = gain(figure, seen)
    text = f"{change:+.1%} against the {quantity(seen, figure.unit)} of such a GPU ({specification.seen_by})"
    if figure.name.endswith("best shape") and int(figure.detail.get("shapes_tried", 0)) < MANY_SHAPES:
        return [(MEASURED, f"{text}, of many more shapes")]
    return [(PASS if change >= -ALIKE else WARN if change >= -FAR else FAIL, text)]


def by_baseline(figure: Figure, baseline: Figure | None, tolerance: float) -> list[Judgement]:
    if baseline is None:
        return []
    if not same_shape(figure, baseline):
        details = (baseline.detail, figure.detail)
        shapes = " and ".join("×".join(str(detail[side]) for side in "mnk") for detail in details)
        return [(MEASURED, f"not compared with the baseline: the shapes differ, {shapes}")]
    change = gain(figure, baseline.value)
    text = f"{change:+.1%} against the baseline's {quantity(baseline.value, baseline.unit)}"
    if change >= -tolerance:
        return [(PASS, text)]
    if not figure.samples.stable or not baseline.samples.stable:
        return [(WARN, f"{text}, but one of the two is unstable: run again on a quiet machine")]
    return [(FAIL, f"{text}, allowed is {-tolerance:.0%}")]


def same_shape(figure: Figure, baseline: Figure) -> bool:
    """Return whether two figures can be compared; the best shapes of two searches may differ."""
    if figure.name.endswith("best shape"):
        return True
    return all(figure.detail.get(side) == baseline.detail.get(side) for side in "mnk")


def invalid_conditions(
    test: str, readings: Iterable[Reading], before: Health, newcomers: Sequence[int] = ()
) -> list[str]:
    reasons, samples = [], list(readings)
    if before.mig:
        reasons.append("a MIG slice is not the whole GPU: switch MIG off to judge it")
    users = [*(before.processes or ()), *newcomers]
    if users:
        reasons.append(f"other processes are on the GPU: {', '.join(map(str, users))}")
    bits = 0
    for sample in samples:
        bits |= sample.slowed_by or 0
    slowed = [words for bit, words in SLOWED.items() if bits & bit]
    if slowed:
        hottest = max((sample.temperature_c or 0 for sample in samples), default=0)
        reasons.append(f"slowed down while it ran: {', '.join(slowed)}" + (f", {hottest} °C" if hottest else ""))
    if test == "pcie":
        reasons += _narrow_link(samples, before)
    return reasons


def _narrow_link(samples: Sequence[Reading], before: Health) -> list[str]:
    """Compare the best PCIe link of all samples with what the slot allows; idle links use a low generation."""
    reasons = []
    for quality, values, limit in (
        ("generation", [sample.pcie_generation for sample in samples], before.pcie_generation_max),
        ("width", [sample.pcie_width for sample in samples], before.pcie_width_max),
    ):
        best = max((value for value in values if value), default=None)
        if best and limit and best < limit:
            reasons.append(f"PCIe {quality} under load is {best}, this slot allows {limit}: reseat the GPU")
    return reasons


def gain(figure: Figure, reference: float) -> float:
    """Return by which share a figure is better than the reference: a higher rate, or a shorter time."""
    return reference / figure.value - 1 if figure.unit == "ns" else figure.value / reference - 1


def worst_of(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the worst verdict; INVALID if there is none, because nothing was measured then."""
    return max(verdicts, key=ORDER.index, default=INVALID)
