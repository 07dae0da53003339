"""Whether recordings can tell what the steps of an engine take: of the same model and machine, and at several loads."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from engine_probe.engine.build import model_geometry
from engine_probe.errors import InputError
from engine_probe.recordings.run import Run
from engine_probe.sweep.definition.sweep_file import EngineSection

ALIKE = 0.02  # share by which two counts of the same model's parameters may differ: some count a tied matrix twice
AUTO = "auto"


def check_recorded_model(engine: EngineSection, facts: Mapping[str, Any], source: str) -> None:
    """Refuse an engine whose model has another size or computes in another type than the recorded one."""
    shape, loaded = model_geometry(engine.model), facts.get("loaded") or []
    if shape is not None and len(loaded) == 1:
        mine, theirs = shape.parameters, int(loaded[0]["parameters"])
        if abs(mine / theirs - 1) > ALIKE:
            raise InputError(
                f"engine.model {engine.model!r} has {mine / 1e9:.3g} billion parameters, the recordings in "
                f"{source} {theirs / 1e9:.3g}: step times of another model predict nothing"
            )
    asked, known = engine.arguments.get("dtype", AUTO), facts["model"]["dtype"]
    if asked not in (AUTO, known):
        raise InputError(
            f"engine.arguments.dtype = {asked!r}, but {source} recorded {known!r}: its step times do not hold for that"
        )
    recorded = facts["engine"].get("environment", {})
    for name, value in engine.spec.environment.items():
        if recorded.get(name) != value:
            known = recorded.get(name, "none")
            raise InputError(
                f"engine.environment.{name} = {value!r}, but {source} recorded {known!r}: its step times do not hold "
                "for that"
            )


def check_machines(runs: Sequence[Run], source: str) -> None:
    """Refuse recordings of several machines, whose steps take different times."""
    found = {machine(run.facts): run for run in runs}
    known = [name for name in found if name]
    if len(known) > 1:
        raise InputError(
            f"{source} has recordings of {len(known)} machines ({'; '.join(sorted(known))}), on which a step "
            "takes different times: give the recordings of one"
        )


def machine(facts: Mapping[str, Any]) -> str:
    """Name the hardware that a run was recorded on. Empty if the recording does not tell."""
    hardware = facts.get("hardware") or {}
    gpus = [str(gpu.get("name")) for gpu in hardware.get("gpus") or ()]
    host = hardware.get("host") or {}
    return ", ".join(gpus) if gpus else f"{host['name']}, {host['cores']} cores" if host.get("name") else ""


def check_loads(runs: Sequence[Run], source: str) -> None:
    """Refuse recordings whose steps all continue as many answers: a token's part of a step cannot be told then."""
    batches = np.unique(np.concatenate([run.iterations["decode_tokens"].to_numpy() for run in runs]))
    batches = batches[batches > 0]
    if len(batches) < 2:
        those = (
            f"all continue {batches[0]} answer{'s' * int(batches[0] != 1)}" if len(batches) else "continue no answer"
        )
        raise InputError(
            f"{source}: its recorded steps {those}, so that a token's part of their time cannot be told: record "
            "at least two loads"
        )
