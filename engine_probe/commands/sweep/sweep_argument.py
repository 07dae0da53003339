"""Sweeps as they are named on the command line, and what is refused before an engine runs."""

from collections.abc import Sequence

from engine_probe.errors import InputError
from engine_probe.recordings.remote_folder import is_uri, local_copy
from engine_probe.sweep.argument_search.search_checks import check_can_search
from engine_probe.sweep.definition.checkpoints import check_any_here
from engine_probe.sweep.definition.loader import read_sweep
from engine_probe.sweep.definition.perplexity_points import check_texts, texts
from engine_probe.sweep.definition.request_memory import check_plans
from engine_probe.sweep.definition.setting_checks import check_questions_here, check_requests
from engine_probe.sweep.definition.sweep_file import SweepFile, apart, points
from engine_probe.sweep.preflight.memory_fit import check_fit
from engine_probe.workload.question_set.question_prompts import Questions
from kernels_bench.devices.cpu import cpu


def read(name: str, settings: tuple[str, ...], model: str | None) -> SweepFile:
    """Read a sweep, also from a URI; refuse a broken question set, and points whose KV pool cannot hold a request."""
    sweep = read_sweep(str(local_copy(name)) if is_uri(name) else name, settings, model)
    found = apart(points(sweep))
    check_questions_here(found)
    check_fit(found)
    return sweep


def check_before_start(sweeps: Sequence[SweepFile], on_fleet: bool) -> None:
    """Refuse what would fail once an engine runs. The memory of a fleet's machines is not checked."""
    for sweep in sweeps:
        check_can_search(sweep)
        check_any_here(sweep)
        if not on_fleet:
            check_plans(apart(points(sweep)), cpu().memory_bytes)
        check_requests(apart(points(sweep)))
        check_texts(texts(sweep))


def caution(sweep: SweepFile) -> str | None:
    """Say what the report will lack because of the sweep's settings. None if nothing."""
    asks = any(isinstance(point.workload.prompts, Questions) for point in points(sweep))
    if not asks or sweep.check_integrity or (sweep.answers is not None and sweep.answers.keep == "text"):
        return None
    return 'questions are asked, but the texts of answers are not kept: with [answers] keep = "text" they are judged'


def read_sides(name: str, against: Sequence[str], settings: tuple[str, ...], model: str | None) -> list[SweepFile]:
    """Read both sweeps: `against` is a sweep of its own, which may be the same, or settings that change the first."""
    named = [each for each in against if "=" not in each]
    if named and len(against) > 1:
        raise InputError(
            f"--against {named[0]} is a sweep: name one sweep, or only settings such as engine.arguments.KEY=VALUE"
        )
    before = read(name, settings, model)
    after = read(named[0], settings, model) if named else read(name, (*settings, *against), model)
    check_shared(before, after)
    return [before, after]


def check_shared(before: SweepFile, after: SweepFile) -> None:
    """Refuse sides that could not be compared once they are measured."""
    for side, sweep in (("the sweep", before), ("--against", after)):
        if sweep.adaptive:
            raise InputError(f"{side} searches for its loads, which differ each time: --against needs fixed points")
        if sweep.search:
            raise InputError(f"{side} searches for engine arguments: --against needs fixed points")
    labels = [
        {each.label.rpartition(", ")[0] if sweep.repeats > 1 else each.label for each in points(sweep)}
        for sweep in (before, after)
    ]
    if not labels[0] & labels[1]:
        first, second = (min(each) for each in labels)
        raise InputError(f"--against has no point in common with the sweep ({first!r}, {second!r}): nothing to compare")
