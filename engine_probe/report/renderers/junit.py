"""Gates as test cases in JUnit XML, which CI servers read."""

from collections.abc import Sequence
from xml.etree.ElementTree import Element, SubElement, tostring

from engine_probe.analysis.compare.gates import Gate
from engine_probe.evaluation.comparison import Comparison, GateResult, moved
from engine_probe.text_format import plain


def junit(found: Sequence[Comparison], gates: Sequence[Gate], strict: bool = False) -> str:
    """A suite for each comparison, a case for each gate and point; `time` is what measuring that point took.

    An open bound is skipped, with the reason.
    """
    root = Element("testsuites", name="engine_probe compare")
    for comparison in found:
        held = list(comparison.held(gates))
        suite = SubElement(
            root,
            "testsuite",
            name=plain(f"{comparison.after} against {comparison.before}"),
            tests=str(len(held)),
            failures=str(sum(each.stops(strict) and each.answer != "not measured" for each in held)),
            errors=str(sum(each.answer == "not measured" for each in held)),
            skipped=str(sum(not each.stops(strict) and each.answer == "open" for each in held)),
            time=f"{sum(each.pair.seconds for each in held if each.pair):.3f}",
        )
        for each in held:
            suite.append(case(comparison, each, strict))
        if comparison.notes:
            SubElement(suite, "system-out").text = "\n".join(map(plain, comparison.notes))
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="unicode") + "\n"


def case(comparison: Comparison, held: GateResult, strict: bool) -> Element:
    name = f"{held.gate.text}, {held.point}" if held.point else held.gate.text
    seconds = held.pair.seconds if held.pair else 0.0
    testcase = Element("testcase", classname=plain(comparison.after), name=plain(name), time=f"{seconds:.3f}")
    if held.answer != "holds":
        kind = "error" if held.answer == "not measured" else "failure" if held.stops(strict) else "skipped"
        SubElement(testcase, kind, message=plain(held.said), type=held.gate.metric).text = details(held)
    return testcase


def details(held: GateResult) -> str:
    """Return the answer, and the values before and after where both are known."""
    change = held.pair.change(held.gate.metric) if held.pair else None
    return "\n".join(map(plain, (held.said, moved(change)) if change else (held.said,)))
