"""Folders with weights that a sweep names: what each has to be, and which of them are not here.

Quantised weights are not shipped. A sweep that measures them beside shipped models names their folders in
`[checkpoints]`, each with its quantization. The points of a folder that is not here are left out with one sentence; a
folder with another quantization is refused before an engine starts.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from engine_probe.errors import InputError
from engine_probe.files.safe_read import read_json, shown
from engine_probe.sweep.definition.sweep_file import Point, SweepFile, apart, points

NOT_QUANTISED = "none"
KINDS = (NOT_QUANTISED, "int8", "int4", "awq", "gptq", "desc_act", "fp8")


def check_checkpoints(sweep: SweepFile, other_models: bool) -> None:
    """Refuse unknown kinds and folders that hold something else, and folders that no point uses.

    Of those only if the models are the file's own, and not `other_models`, named on the command line.
    """
    models = models_of(sweep)
    for folder, kind in sweep.checkpoints.items():
        if folder not in models and not other_models:
            raise InputError(
                f"checkpoints names {folder}, which is no model of this sweep: it measures {', '.join(sorted(models))}"
            )
        if (unknown := next((word for word in kind.split() or [kind] if word not in KINDS), None)) is not None:
            raise InputError(f"checkpoints.{folder} is {shown(unknown)}: known are {', '.join(KINDS)}")
        if folder in models and Path(folder).expanduser().is_dir():
            check_kind(folder, kind)


def check_kind(folder: str, kind: str) -> None:
    """Refuse a checkpoint of another quantization, by its config.json."""
    path = Path(folder).expanduser() / "config.json"
    config = read_json(path)
    if not isinstance(config, dict):
        raise InputError(f"{path} is {shown(config)}, expected an object: give the folder of a model")
    found = kinds(config)
    if not found.issuperset(kind.split()):
        has = "not quantised" if found == {NOT_QUANTISED} else " ".join(sorted(found))
        raise InputError(
            f"{path} says that the weights are {has}, and checkpoints.{folder} expects {words(kind)}: "
            "give a folder that holds them"
        )


def kinds(config: Mapping[str, Any]) -> set[str]:
    """Return what a configuration says of the weights: the method, and the type and bits of quantised ones."""
    quantization = config.get("quantization_config")
    if not isinstance(quantization, Mapping):
        return {NOT_QUANTISED}
    return set(words_of(quantization))


def words_of(quantization: Mapping[str, Any]) -> Iterator[str]:
    method = str(quantization.get("quant_method"))
    yield method
    if quantization.get("desc_act"):
        yield "desc_act"
    if quantization.get("load_in_8bit"):
        yield "int8"
    if isinstance(bits := quantization.get("bits", quantization.get("w_bit")), int):
        yield f"int{bits}"
    groups = quantization.get("config_groups")
    for group in groups.values() if isinstance(groups, Mapping) else ():
        weights = group.get("weights") if isinstance(group, Mapping) else None
        if isinstance(weights, Mapping):
            yield f"{'fp' if weights.get('type') == 'float' else 'int'}{weights.get('num_bits')}"


def absent(sweep: SweepFile) -> dict[str, str]:
    """Return each checkpoint that a point needs and that is not here, with a sentence that says what is missing."""
    models = models_of(sweep) if sweep.checkpoints else set()
    return {
        folder: f"{folder} is not here: give a folder with {words(kind)}, or a link to one"
        for folder, kind in sweep.checkpoints.items()
        if folder in models and not Path(folder).expanduser().is_dir()
    }


def models_of(sweep: SweepFile) -> set[str]:
    return {point.engine.model for point in apart(points(sweep))}


def points_here(sweep: SweepFile) -> list[Point]:
    """Return the points whose checkpoints are here."""
    missing = absent(sweep)
    return [point for point in points(sweep) if not any(spec.model in missing for spec in point.engines)]


def words(kind: str) -> str:
    return "weights that are not quantised" if kind == NOT_QUANTISED else f"{kind.upper()} weights"


def check_any_here(sweep: SweepFile) -> None:
    """Refuse a sweep all of whose points need checkpoints that are not here."""
    missing = absent(sweep)
    if missing and models_of(sweep) <= set(missing):
        raise InputError(f"nothing can be measured: {'; '.join(missing.values())}")
