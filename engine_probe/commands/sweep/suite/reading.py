"""A suite as it is named on the command line, read and checked before anything is measured."""

from collections.abc import Collection, Sequence
from functools import partial

from msgspec.structs import replace

from engine_probe.engine.build import check_model
from engine_probe.errors import InputError
from engine_probe.evaluation.published.reference import read_reference
from engine_probe.recordings.suite import SuiteState
from engine_probe.sweep.suite.plan import PlannedSweep, Prepare, as_it_is, plan
from engine_probe.sweep.suite.suite_file import find_suite, read_suite


def read(
    name: str, settings: Sequence[str], model: str | None, only: Collection[str], twin: str | None = None
) -> tuple[SuiteState, list[PlannedSweep]]:
    path = find_suite(name)
    if model is not None:
        check_model(model)
    suite = read_suite(path)
    for number, section in enumerate(suite.sections):
        if section.reference is not None:
            try:
                read_reference(section.reference)
            except InputError as error:
                reason = str(error).removeprefix("--reference ")
                raise InputError(f"{path}: sections[{number}].reference: {reason}") from error
    state, found = plan(suite, path.parent, settings, model, only, preparation(twin))
    return replace(state, twin=twin), found


def preparation(twin: str | None) -> Prepare:
    """Return what is done to each sweep: with --twin, twins take the place of its engines."""
    if twin is None:
        return as_it_is
    from engine_probe.commands.sweep.twin import predicted  # a second of imports, which only predictions need

    return partial(predicted, folder=twin)
