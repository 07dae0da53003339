"""How latencies grow with the length of prompts and answers: their fits in words, and the charts."""

from collections.abc import Iterator, Sequence
from functools import partial

from engine_probe.analysis.statistics.polynomial_fit import Coefficient, LineOrParabola, Polynomial
from engine_probe.analysis.statistics.student import SIGNIFICANT
from engine_probe.recordings.curve import Curve
from engine_probe.report.charts.lengths import TTFT, OverLength, fitted_lines, length_charts
from engine_probe.report.document import Section, Sentence, sure
from engine_probe.text_format import milliseconds, percent

METHOD = (
    "Each fit minimises the squared relative errors over all points; its intervals have 95%. A parabola is preferred "
    "where its square differs from zero (p below 0.05), as attention makes it: each token attends to all before it."
)


def growth_section(curves: Sequence[Curve]) -> Section:
    """Return what grows with lengths, whose sentences belong to the verdict; nothing if lengths do not differ."""
    fitted = [(line, fit) for line in fitted_lines(curves) if (fit := line.fit) is not None]
    sentences = tuple(sentence for line, fit in fitted for sentence in growth_words(line, fit))
    rejected = [words for line, fit in fitted if (words := rejected_words(line, fit))]
    return Section(
        "Over the lengths of prompts and answers",
        sentences=sentences,
        charts=partial(length_charts, curves),
        details=sure(*rejected, METHOD) if fitted else (),
    )


def growth_words(line: OverLength, fit: LineOrParabola) -> Iterator[Sentence]:
    name = line.measure.name
    yield Sentence(fit_words(name, line, fit), label=line.label)
    if line.measure is not TTFT:
        return
    if grows(fit):
        yield Sentence(overhead_words(fit.best.coefficients[0]), label=line.label)
    if (largest := line.largest_fit) is not None:
        yield Sentence(fit_words(f"The largest {name} at each length", line, largest), label=line.label)


def grows(fit: LineOrParabola) -> bool:
    """Return whether a latency is shown to change with the length."""
    return fit.bends or fit.line.coefficients[1].p < SIGNIFICANT


def fit_words(name: str, line: OverLength, fit: LineOrParabola) -> str:
    """Return the fit in words, or that no growth is shown."""
    if grows(fit):
        return f"{name} is {formula(line, fit.best)}: {form_words(fit, max(line.by_length))}."
    slope = fit.line.coefficients[1]
    ends = f"{milliseconds(slope.low * 1e3)} to {milliseconds(slope.high * 1e3)} per 1,000 {line.side.name} tokens"
    return f"{name} is not shown to grow with the {line.side.name}: {ends} (95% interval, {p_words(slope.p)})."


def formula(line: OverLength, fit: Polynomial) -> str:
    """Return the fit as a sum: what is fixed, what 1,000 tokens add, and what the square of 1,000 tokens adds."""
    fixed, each, *square = (coefficient.value for coefficient in fit.coefficients)
    terms = [milliseconds(fixed), f"{milliseconds(each * 1e3)} per 1,000 {line.side.name} tokens"]
    terms += [f"{milliseconds(value * 1e6)} per square of 1,000 tokens" for value in square]
    return " + ".join(terms).replace("+ -", "- ")


def form_words(fit: LineOrParabola, longest: float) -> str:
    """Say whether a line or a parabola fits better."""
    explained = f"a straight line explains {fit.line.explained:.1%} of the differences"
    if fit.parabola is None:
        return f"{explained} (too few lengths to tell it from a parabola)"
    square = fit.parabola.coefficients[-1]
    if not fit.bends:
        return f"{explained}, and a parabola fits no better ({p_words(square.p)})"
    share = square.value * longest**2 / fit.parabola.at(longest)
    return (
        f"a parabola fits better than a straight line ({p_words(square.p)}); at {longest:,.0f} tokens its square is "
        f"{percent(share)} of the time"
    )


def overhead_words(fixed: Coefficient) -> str:
    """Say whether the time at zero tokens differs from zero."""
    interval = f"95% interval {milliseconds(fixed.low)} to {milliseconds(fixed.high)}, {p_words(fixed.p)}"
    time = milliseconds(fixed.value)
    if fixed.low > 0:
        return f"Of it {time} are overhead, whatever the prompt ({interval})."
    if fixed.high < 0:
        return f"At zero tokens the fit gives {time} ({interval}): it holds for these lengths alone."
    return f"No overhead is shown: at zero tokens the fit gives {time} ({interval})."


def rejected_words(line: OverLength, fit: LineOrParabola) -> str | None:
    """Return what the straight line would say where the parabola is preferred."""
    if not fit.bends:
        return None
    fixed = fit.line.coefficients[0]
    name = f"{line.measure.name} ({line.label})" if line.label else line.measure.name
    return (
        f"A straight line explains {fit.line.explained:.1%} of the differences in {name} and would give "
        f"{milliseconds(fixed.value)} at zero tokens ({milliseconds(fixed.low)} to {milliseconds(fixed.high)})."
    )


def p_words(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"
