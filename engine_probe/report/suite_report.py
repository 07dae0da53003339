"""The report of a suite: what came of its sweeps, then a section for each of the document that it follows."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from engine_probe.recordings.curve import Curve, curves
from engine_probe.recordings.experiment import experiment
from engine_probe.recordings.suite import SectionState, Suite
from engine_probe.recordings.sweep import Swept
from engine_probe.report.document import ASKED, Document, Section, Sentence
from engine_probe.report.experiment_report import experiment_document
from engine_probe.report.sections.experiment.suite import suite_verdict
from engine_probe.report.sweep_report import Evaluation, sweep_document
from engine_probe.text_format import counted

FEW = 2  # sentences of a sweep, in a terminal
Evaluate = Callable[[Swept, Sequence[Curve], str | None], Evaluation]  # with a table of published figures, or None


def suite_document(suite: Suite, evaluate: Evaluate) -> Document:
    """Return the report of all sweeps that have results; the others are named with their reasons."""
    sections = (document_section(suite, number, evaluate) for number in range(len(suite.state.sections)))
    source = f"{suite.state.source}; " if suite.state.source else ""
    origin = f"{source}{counted_points(suite)} in {suite.folder}"
    return Document(suite.state.shown_title, origin, suite_verdict(suite), tuple(sections))


def counted_points(suite: Suite) -> str:
    points = sum(len(swept.points) + len(swept.texts) for swept in suite.sweeps.values())
    return f"{counted(points, 'point')} of {counted(len(suite.sweeps), 'sweep')}"


def document_section(suite: Suite, number: int, evaluate: Evaluate) -> Section:
    """Return a section of the document: its sweeps as one experiment, or one after the other."""
    section, sweeps = suite.state.sections[number], suite.of_section(number)
    note = (Sentence(section.note, rank=ASKED),) if section.note else ()
    if not sweeps:
        return Section(
            section.title, sentences=(*note, Sentence(f"Nothing of it is {suite.state.how}.", "soft")), shown="always"
        )
    if section.together and len(sweeps) > 1:
        parts = [together(section, sweeps, evaluate)]
    else:
        parts = [alone(name, swept, section, evaluate) for name, swept in sweeps.items()]
    if len(parts) == 1:
        (part,) = parts
        sentences, answers = (*note, *part.sentences), part.answers + len(note)
        return replace(part, title=section.title, sentences=sentences, answers=answers)
    return Section(section.title, sentences=note, parts=tuple(parts), shown="always")


def together(section: SectionState, sweeps: dict[str, Swept], evaluate: Evaluate) -> Section:
    found = experiment(sweeps, section.title)
    lines = found.curves
    document = experiment_document(found, lines, evaluate(found.together, lines, section.reference))
    return as_section(section.title, document, max(FEW, len(lines)))


def alone(name: str, swept: Swept, section: SectionState, evaluate: Evaluate) -> Section:
    lines = curves(swept.points)
    document = sweep_document(swept, lines, evaluate(swept, lines, section.reference))
    return as_section(f"{name}: {swept.question}", document, FEW)


def as_section(title: str, document: Document, answers: int) -> Section:
    """Return a report as a section of another: its verdict, and its sections as parts."""
    parts = (*document.verdict.parts, *document.sections)
    return replace(document.verdict, title=title, parts=parts, shown="always", answers=answers)
