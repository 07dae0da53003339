"""What holds, on a real engine, of the claims that load and preemption change greedy answers.

Usage: `python -m tools.results.answers.integrity_results FOLDER ... --write docs/results/answers/integrity.md`,
from an environment that has engine_probe; each FOLDER is of a sweep with check_integrity, such as `engine_probe sweep
integrity --out FOLDER`.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from engine_probe.analysis.answers.integrity.request_verdicts import Kind
from engine_probe.errors import EngineProbeError
from engine_probe.evaluation.integrity import CurveIntegrity, integrity
from engine_probe.recordings.sweep import Swept, load_sweep
from engine_probe.report.renderers.markdown import section_lines
from engine_probe.report.sections.sweep.integrity import TITLE, integrity_sections, ratio
from tools.pictures.screenshot import photograph_section
from tools.result_page import host_words, measured_seconds, options, table

TOP = "# Do greedy answers stay the same under load?"
ENDED_EARLY = "Outputs are incomplete after a preemption (vLLM issue 16832)"
CHANGED = "Greedy outputs change with the number of concurrent requests (vLLM issues 23138, 51187)"
PREEMPTED = "Preemption and recomputation change outputs"


def document(folders: Sequence[Path]) -> Iterator[str]:
    """Yield the page: the claims beside what was measured, then each sweep."""
    found = [(swept, curve) for swept in map(load_sweep, folders) for curve in integrity(swept)]
    if not found:
        raise EngineProbeError(f"{', '.join(map(str, folders))}: no answers were compared: use --check-integrity")
    yield from (TOP, "", "Made by `tools/results/answers/integrity_results.py` from recordings of a real engine:", "")
    for swept, curve in found:
        yield f"- {named(swept, curve)}: {settings(swept)}."
    claims = ((CHANGED, changed), (PREEMPTED, preempted), (ENDED_EARLY, ended_early))
    told = (
        (claim, " ".join(f"{named(swept, curve)}: {words(curve)}" for swept, curve in found)) for claim, words in claims
    )
    yield from ("", *table(("published claim", "measured here"), told, words=(0, 1)))
    yield from ("", *compared_settings(found))
    for (swept, curve), section in zip(found, integrity_sections([curve for _, curve in found]), strict=True):
        yield from ("", f"## {named(swept, curve)}")
        yield from list(section_lines(section, 3))[2:]


def compared_settings(found: Sequence[tuple[Swept, CurveIntegrity]]) -> Iterator[str]:
    """Yield a table of the settings: how many answers changed under each, and how far margins moved."""
    titles = ("sweep", "number format", "changed", "not explained", "preempted", "margins that moved", "at most")
    rows = []
    for swept, curve in found:
        noise, preempted = curve.noise, sum(level.preempted for level in curve.levels)
        moved = (f"{noise.shifted:,} of {noise.tokens:,}", f"{noise.largest:.2g}") if noise else ("-", "-")
        changed = f"{curve.changed} of {curve.compared}"
        number_format = swept.runs[0].facts["model"]["dtype"]
        rows.append((named(swept, curve), number_format, changed, curve.faults, preempted, *moved))
    yield from table(titles, rows, words=(0, 1))


def named(swept: Swept, curve: CurveIntegrity) -> str:
    return f"{swept.folder.name}{f', {curve.label}' if curve.label else ''}"


def settings(swept: Swept) -> str:
    """Return what was measured: model, precision, prompts, KV pool and machine."""
    facts = swept.runs[0].facts
    loads = " / ".join(f"{load:g}" for load in sorted({point.load for point in swept.points}))
    kv = facts["kv"]
    return (
        f"{swept.runs[0].model_name} in {facts['model']['dtype']}, vLLM {facts['versions']['vllm']}, "
        f"{swept.runs[0].answers.num_rows} prompts at {loads} {swept.points[0].unit}, temperature 0, a KV pool of "
        f"{kv['blocks']} blocks of {kv['block_size_tokens']} tokens, {host_words(facts)}; all points took "
        f"{measured_seconds(swept.runs):.0f} s on an engine that had started"
    )


def changed(curve: CurveIntegrity) -> str:
    """Say how many answers changed, by load, and whether numerics explain them."""
    shares = ", ".join(
        f"{level.changed} of {level.compared - level.kinds[Kind.FAILED]} at {level.load:g}" for level in curve.levels
    )
    if not curve.changed:
        return f"no answer changed ({shares})."
    by_batch = next(test for test in curve.tests if test.cause == "batch size")
    p = "not tested" if by_batch.p is None else f"p = {by_batch.p:.2g}"
    begin = f"; no margin moved below {curve.first_moved} tokens of context" if curve.first_moved else ""
    ties = f"{curve.count(Kind.NEAR_TIE)} at near-ties, {curve.faults} that numerics do not explain"
    return f"{shares}; {ties}; batch size {p}{begin}."


def preempted(curve: CurveIntegrity) -> str:
    """Say whether having been preempted makes divergence likelier."""
    count = sum(level.preempted for level in curve.levels)
    after = sum(bool(change.step and change.step.preemptions) for change in curve.changes)
    tested = next(test for test in curve.tests if test.cause == "preemption")
    words = f"{count} requests were preempted, {after} of them before they diverged"
    if tested.p is None or tested.odds is None:
        return f"{words}; not tested: {tested.why_not}."
    odds = tested.odds
    return f"{words}; odds × {ratio(odds.ratio)} ({ratio(odds.low)} to {ratio(odds.high)}), p = {tested.p:.2g}."


def ended_early(curve: CurveIntegrity) -> str:
    """Say how many answers were cut short or failed."""
    count = sum(level.preempted for level in curve.levels)
    return f"{curve.count(Kind.CUT_SHORT)} cut short, {curve.count(Kind.FAILED)} failed ({count} preempted)."


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("folders", type=Path, nargs="+", help="sweeps with check_integrity")
    parser.add_argument(
        "--pictures", type=Path, metavar="FOLDER", help="also write the README's pictures of the first sweep's section"
    )
    asked = parser.parse_args()
    try:
        lines = list(document(asked.folders))
    except EngineProbeError as error:
        sys.exit(str(error))
    print("\n".join(lines))
    if asked.write:
        _, heading, kept = asked.write.read_text().partition("\n## Notes\n") if asked.write.exists() else ("", "", "")
        asked.write.write_text("\n".join(lines) + f"\n{heading}{kept}")
    for scheme in ("light", "dark") if asked.pictures else ():
        photograph_section(asked.folders[0], asked.pictures / f"integrity-{scheme}.png", TITLE, scheme)


if __name__ == "__main__":
    main()
