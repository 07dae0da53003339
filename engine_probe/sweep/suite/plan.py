"""The plan of a suite: each sweep with its settings and its folder, or the reason why it cannot be measured."""

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from engine_probe.errors import EngineProbeError, InputError
from engine_probe.recordings.suite import FAILED, SectionState, SuiteState, SweepState
from engine_probe.sweep.definition.axes import MODEL
from engine_probe.sweep.definition.loader import find_sweep, read_sweep
from engine_probe.sweep.definition.sweep_file import SweepFile, points
from engine_probe.sweep.execution.folders import safe
from engine_probe.sweep.suite.suite_file import SuiteFile, SuiteSweep, name_of, section_folder
from engine_probe.text_format import model_name, suggestion

Prepare = Callable[[SweepFile], SweepFile]  # what is changed in each sweep, such as twins in place of its engines


class PlannedSweep(NamedTuple):
    """A sweep of a suite, read; or why it cannot be."""

    state: SweepState
    sweep: SweepFile | None


def as_it_is(sweep: SweepFile) -> SweepFile:
    return sweep


def plan(
    suite: SuiteFile,
    beside: Path,
    settings: Sequence[str] = (),
    model: str | None = None,
    only: Collection[str] = (),
    prepare: Prepare = as_it_is,
) -> tuple[SuiteState, list[PlannedSweep]]:
    """Return the state before anything was measured, and the sweeps; `beside` is the folder of the suite file.

    What is wrong with the suite file is refused. A sweep that does not take `settings` or the model, or that `prepare`
    refuses, is a row with its reason, unless all of them are.
    """
    check_only(suite, only)
    sections = [SectionState(each.title, each.together, each.reference, each.note) for each in suite.sections]
    found = [
        planned(number, asked, beside, settings, model, prepare)
        for number, section in enumerate(suite.sections)
        for asked in section.asked
        if not only or name_of(asked) in only
    ]
    if all(each.sweep is None for each in found):
        raise InputError(f"{found[0].state.name}: {found[0].state.reason}")
    found = list(in_folders(found, [section_folder(each) for each in suite.sections]))
    state = SuiteState(suite.title, suite.source, sections, [each.state for each in found], model)
    return state, found


def check_only(suite: SuiteFile, only: Collection[str]) -> None:
    names = [name_of(asked) for section in suite.sections for asked in section.asked]
    for name in only:
        if name not in names:
            hint = suggestion(name, names, f": it has {', '.join(names)}")
            raise InputError(f"--only {name}: this suite has no such sweep{hint}")


def planned(
    section: int, asked: SuiteSweep, beside: Path, settings: Sequence[str], model: str | None, prepare: Prepare
) -> PlannedSweep:
    name, own = name_of(asked), [f"{key}={json.dumps(value)}" for key, value in asked.set.items()]
    sweep = sweep_name(asked, beside)
    as_shipped = read_sweep(sweep, own)  # what is wrong with the suite itself is refused
    alone = [] if model is None else [f"{MODEL}={model}"]  # also where the models are an axis of the sweep
    state = SweepState(name, section, sweep, [*own, *alone, *settings], "")
    return read(state, prepare, as_shipped if state.settings == own else None)


def read(state: SweepState, prepare: Prepare = as_it_is, known: SweepFile | None = None) -> PlannedSweep:
    """Read the sweep of a row unless it is known; if it cannot be, the row says why."""
    try:
        return PlannedSweep(state, prepare(known or read_sweep(state.sweep, state.settings)))
    except EngineProbeError as error:
        return PlannedSweep(failed(state, error), None)


def failed(state: SweepState, error: EngineProbeError) -> SweepState:
    return replace(state, status=FAILED, exit_code=error.exit_code, reason=str(error))


def sweep_name(asked: SuiteSweep, beside: Path) -> str:
    """Return the path of a sweep's file, beside the suite file or where the user is, or a shipped name."""
    path = beside / asked.sweep
    return str(path) if path.is_file() else str(find_sweep(asked.sweep)) if Path(asked.sweep).suffix else asked.sweep


def in_folders(found: Sequence[PlannedSweep], sections: Sequence[str]) -> Iterator[PlannedSweep]:
    """Yield the sweeps with their folders: section / model, or the sweep's name where a model is not enough."""
    models = [model_of(each) for each in found]
    counts = Counter((each.state.section, model) for each, model in zip(found, models, strict=True))
    for each, model in zip(found, models, strict=True):
        section = each.state.section
        alone = model is not None and counts[section, model] == 1
        name = safe(model if alone and model else each.state.name)
        yield each._replace(state=replace(each.state, folder=f"{sections[section]}/{name}"))


def model_of(each: PlannedSweep) -> str | None:
    """Return the model of a sweep. None if it measures several, or cannot be read."""
    if each.sweep is None:
        return None
    models = {model_name(point.engine.model) for point in points(each.sweep)}
    return models.pop() if len(models) == 1 else None
