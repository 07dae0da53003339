"""A suite as it is named on the command line, read and checked before anything is measured."""

from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path

from msgspec.structs import replace

from engine_probe.engine.build import check_model
from engine_probe.errors import InputError
from engine_probe.evaluation.published.reference import Reference, read_reference
from engine_probe.files.config_file import check_given_once
from engine_probe.recordings.suite import SuiteState
from engine_probe.sweep.definition.sweep_file import points
from engine_probe.sweep.suite.plan import PlannedSweep, Prepare, as_it_is, plan
from engine_probe.sweep.suite.suite_file import SuiteFile, find_suite, read_suite


def read(
    name: str, settings: Sequence[str], model: str | None, only: Collection[str], twin: str | None = None
) -> tuple[SuiteState, list[PlannedSweep]]:
    path = find_suite(name)
    check_given_once(settings)
    if model is not None:
        check_model(model)
    suite = read_suite(path)
    tables = references(path, suite)
    state, found = plan(suite, path.parent, settings, model, only, preparation(twin))
    for number, (name, table) in tables.items():
        try:
            check_units(name, table, [each for each in found if each.state.section == number])
        except InputError as error:
            raise InputError(f"{path}: sections[{number}].reference: {error}") from error
    return replace(state, twin=twin), found


def references(path: Path, suite: SuiteFile) -> dict[int, tuple[str, Reference]]:
    """Return the table of published figures of each section that has one, with its name."""
    found = {}
    for number, section in enumerate(suite.sections):
        if section.reference is not None:
            try:
                found[number] = section.reference, read_reference(section.reference)
            except InputError as error:
                reason = str(error).removeprefix("--reference ")
                raise InputError(f"{path}: sections[{number}].reference: {reason}") from error
    return found


def check_units(name: str, table: Reference, sweeps: Sequence[PlannedSweep]) -> None:
    """Refuse a table whose figures can be set beside none of the sweeps, because their loads are in other units."""
    units = dict.fromkeys(point.load_in for each in sweeps if each.sweep for point in points(each.sweep))
    if table.figures and units and not any(table.counts(unit) for unit in units):
        raise InputError(
            f"the loads of {name} are in {table.load_in}, and those of its sweeps in {' and '.join(units)}: name "
            "another table, or leave reference out"
        )


def preparation(twin: str | None) -> Prepare:
    """Return what is done to each sweep: with --twin, twins take the place of its engines."""
    if twin is None:
        return as_it_is
    from engine_probe.commands.sweep.twin import predicted  # a second of imports, which only predictions need

    return partial(predicted, folder=twin)
