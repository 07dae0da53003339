"""Several sweeps opened as one experiment: their points together, each curve named by what tells it from the others.

Curves of two sweeps are never joined, even if their settings are the same: they were measured on different occasions.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine_probe.analysis.curve.curve_settings import NOT_THE_WORK, distinguishing, flat, value_words
from engine_probe.analysis.run.slo import Slo
from engine_probe.analysis.statistics.grouped import grouped
from engine_probe.engine.parallelism import SPLIT_WEIGHTS
from engine_probe.errors import InputError
from engine_probe.notebook_view import NotebookView
from engine_probe.recordings.curve import Curve, curves
from engine_probe.recordings.run import Run
from engine_probe.recordings.sweep import Swept, is_sweep, open_sweep, varied_settings
from engine_probe.recordings.sweep_point import SweptPoint
from engine_probe.text_format import model_name

if TYPE_CHECKING:
    import pandas
    import pyarrow as pa

SWEEP = "sweep"
# What names a curve first, if it tells curves apart; the name of the sweep is the last resort.
FIRST = ("model", *SPLIT_WEIGHTS, "replicas", "quantization", "kv_cache_dtype")
HARDWARE, VLLM = "hardware", "vLLM"


@dataclass(frozen=True)
class Experiment(NotebookView):
    """Sweeps by name, and all their points as those of one sweep. Jupyter shows the curves and what each comes to."""

    sweeps: Mapping[str, Swept]
    together: Swept
    differences: tuple[str, ...]  # a sentence for each way in which the sweeps are not alike

    @property
    def title(self) -> str:
        return self.together.question

    @property
    def predicted(self) -> bool:
        """Return whether a twin predicted any of it."""
        return any(run.predicted for run in self.together.runs)

    @property
    def curves(self) -> list[Curve]:
        return curves(self.together.points)

    @property
    def table(self) -> pa.Table:
        """Return a row for each point of every sweep."""
        return self.together.table

    def to_pandas(self) -> pandas.DataFrame:
        return self.together.to_pandas()

    def __repr__(self) -> str:
        made = "Predicted experiment" if self.predicted else "Experiment"
        return f"<{made} of {', '.join(self.sweeps)} ({len(self.together.points)} points)>"


def load_experiment(*folders: str | os.PathLike[str]) -> Experiment:
    """Open the sweeps in these folders as one experiment."""
    return open_experiment([Path(folder) for folder in folders])


def open_experiment(folders: Sequence[Path], slo: Slo | None = None) -> Experiment:
    """Open several sweeps, and refuse what has no load in common."""
    check_folders(folders)
    return experiment({name: open_sweep(folder, slo) for name, folder in named(folders).items()})


def experiment(sweeps: Mapping[str, Swept], title: str = "") -> Experiment:
    """Put opened sweeps together."""
    check_units(sweeps)
    settings = {
        (name, label): curve_settings(name, points)
        for name, swept in sweeps.items()
        for label, points in swept.curves.items()
    }
    names = distinguishing(list(settings.values()), FIRST)
    labels = {key: {each: found.get(each) for each in names} for key, found in settings.items()}
    points = tuple(
        replace(point, id=f"{name}/{point.id}", curve=labels[name, point.label])
        for name, swept in sweeps.items()
        for point in swept.points
    )
    owners = [name for name, swept in sweeps.items() for _ in swept.points]
    varied = varied_settings([dict(point.asked) for point in points])
    rows = tuple({SWEEP: owner, **each} for owner, each in zip(owners, varied, strict=True))
    folder = Path(os.path.commonpath([swept.folder.absolute() for swept in sweeps.values()]))
    questions = dict.fromkeys(swept.question for swept in sweeps.values())
    title = title or (next(iter(questions)) if len(questions) == 1 else f"{', '.join(sweeps)} as one experiment")
    together = Swept(folder, title, points, rows, {})
    return Experiment(dict(sweeps), together, tuple(differences(sweeps)))


def check_folders(folders: Sequence[Path]) -> None:
    if not folders:
        raise InputError("an experiment is made of sweeps: name the folder of at least one")
    seen: dict[Path, Path] = {}
    for folder in folders:
        if not is_sweep(folder):
            raise InputError(f"{folder} is no sweep: several folders are one experiment only if each is a sweep's")
        if (other := seen.setdefault(folder.resolve(), folder)) is not folder:
            raise InputError(f"{folder} and {other} are the same sweep: name it once")


def check_units(sweeps: Mapping[str, Swept]) -> None:
    """Refuse sweeps whose loads are not counted alike: their curves have no axis in common."""
    units = {name: {point.unit for point in swept.points} for name, swept in sweeps.items() if swept.points}
    if units and not set.intersection(*units.values()):
        counted = "; ".join(f"{name} in {' and '.join(sorted(found))}" for name, found in units.items())
        raise InputError(f"these sweeps do not count their load alike ({counted}): report each of them alone")


def named(folders: Sequence[Path]) -> dict[str, Path]:
    """Name each sweep by the end of its folder's path, as short as tells it from the others."""
    paths = [folder.absolute() for folder in folders]
    for length in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-length:]) for path in paths]
        if len(set(names)) == len(names):
            return dict(zip(names, folders, strict=True))
    raise InputError(f"{folders[0]} is named twice")


def curve_settings(sweep: str, points: Sequence[SweptPoint]) -> dict[str, Any]:
    """Return the settings that all points of a curve share, with the model and the hardware as recorded."""
    found = [flat(point.asked) | {"unit": point.unit} for point in points]
    shared = {
        name: value
        for name, value in found[0].items()
        if name not in NOT_THE_WORK and all(each.get(name) == value for each in found)
    }
    shared["model"] = model_name(str(shared.get("model", "")))
    run = next((point.run for point in points if point.run), None)
    return shared | (recorded_settings(run) if run else {}) | {SWEEP: sweep}


def recorded_settings(run: Run) -> dict[str, Any]:
    """Return the settings of an engine that its recording tells, also where they were left to their defaults."""
    parallel = run.facts["engine"]["arguments"].get("parallel_config") or {}
    sizes = {name: parallel[name] for name in SPLIT_WEIGHTS if name in parallel}
    return {"model": run.model_name, **sizes, HARDWARE: hardware_name(run.facts)}


def hardware_name(facts: Mapping[str, Any]) -> str:
    """Return the kinds of GPUs of a machine, or its processor; empty if it was not recorded."""
    hardware = facts.get(HARDWARE) or {}
    gpus = dict.fromkeys(str(gpu.get("name")) for gpu in hardware.get("gpus") or [])
    return " and ".join(gpus) or str((hardware.get("host") or {}).get("name") or "")


def differences(sweeps: Mapping[str, Swept]) -> Iterator[str]:
    """Yield a sentence about the workload, the hardware and vLLM, each where the sweeps do not have the same."""
    work = {name: [workload_of(point.asked) for point in swept.points] for name, swept in sweeps.items()}
    settings = dict.fromkeys(setting for found in work.values() for each in found for setting in each)
    values = {
        setting: {name: sorted({setting_words(each.get(setting)) for each in found}) for name, found in work.items()}
        for setting in settings
    }
    if unlike := [words for setting, found in values.items() if (words := by_value(found, setting))]:
        yield f"The sweeps do not have the same workload, which may be the cause of what differs: {'; '.join(unlike)}."
    for what, value in ((HARDWARE, hardware_name), (VLLM, lambda facts: str(facts["versions"]["vllm"]))):
        used = {name: sorted({value(run.facts) for run in swept.runs} - {""}) for name, swept in sweeps.items()}
        if words := by_value(used, ""):
            yield f"The sweeps were not measured on the same {what}: {words}."


def workload_of(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is asked of a point, without its load and what follows from it."""
    work, ignored = asked.get("workload", asked), NOT_THE_WORK | {"model", "engine"}
    return {name: value for name, value in flat(work).items() if name not in ignored}


def setting_words(value: Any) -> str:
    return value_words(value) if isinstance(value, float) else json.dumps(value)


def by_value(values: Mapping[str, Sequence[str]], setting: str) -> str:
    """Say which sweeps have which values; empty if all that have any have the same."""
    owners = grouped((name for name, found in values.items() if found), lambda name: tuple(values[name]))
    if len(owners) < 2:
        return ""
    parts = (f"{' and '.join(found)} in {', '.join(names)}" for found, names in owners.items())
    return f"{setting} {', '.join(parts)}".strip()
