"""Finding a sweep by its name, reading it and checking it."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from engine_probe.engine.build import check_model
from engine_probe.errors import InputError
from engine_probe.evaluation.money.price_list import with_prices_read
from engine_probe.files import config_file
from engine_probe.files.safe_read import read_toml
from engine_probe.files.shipped import shipped_folder
from engine_probe.sweep.argument_search.search_checks import check_search
from engine_probe.sweep.definition import setting_checks
from engine_probe.sweep.definition.axes import MODEL, check_axis
from engine_probe.sweep.definition.checkpoints import check_checkpoints, points_here
from engine_probe.sweep.definition.perplexity_points import check_quality
from engine_probe.sweep.definition.sweep_file import SECTIONS, SweepFile, apart, points
from engine_probe.sweep.definition.workload_section import WorkloadSection
from engine_probe.text_format import suggestion


def shipped_sweeps() -> dict[str, Path]:
    """Return the files of the shipped sweeps by name; those of a published document lie in a folder of their own."""
    files = (path for pattern in ("*.toml", "published/*/*.toml") for path in shipped_folder().glob(pattern))
    return {path.stem: path for path in sorted(files, key=lambda path: path.stem)}


def shipped_names() -> list[str]:
    return list(shipped_sweeps())


def find_sweep(name: str) -> Path:
    """Return the file of a sweep named by its path, by the folder of an earlier sweep, or by a shipped name."""
    for path in (Path(name), shipped_sweeps().get(name), Path(name) / config_file.RESULT_FILE):
        if path and path.is_file():
            return path
    if Path(name).is_dir():
        raise InputError(
            f"{name} holds no {config_file.RESULT_FILE}, so no sweep was written there: give a sweep's folder or file"
        )
    hint = suggestion(name, shipped_names(), f": the shipped sweeps are {', '.join(shipped_names())}")
    raise InputError(f"there is no sweep {name!r}{hint}; you may also give the path of a TOML file")


def read_sweep(name: str, settings: Iterable[str] = (), model: str | None = None) -> SweepFile:
    """Read a sweep and refuse whatever is wrong with it, before an engine starts. `model` replaces the file's."""
    path = find_sweep(name)
    if model is not None:
        check_model(model)
    document = config_file.read_asked(path) if path.suffix == ".json" else read_toml(path)
    try:
        document["axes"] = config_file.flat(document.get("axes", {}))
        config_file.settle(document, settings)
        if path.suffix == ".toml":  # what a sweep wrote says itself whether it held its load
            hold_by_default(document)
        if model is not None:
            replace_model(document, model)
        config_file.check_numbers(document)
        sweep = config_file.convert(document, SweepFile, SECTIONS)
        for axis in sweep.axes:
            check_axis(axis, WorkloadSection.__struct_fields__)
        check_search(sweep)
        sweep = with_prices(sweep)
        setting_checks.check_adaptive(sweep)
        setting_checks.check_saturated(sweep)
        found = points(sweep)
        setting_checks.check_distinct(found)
        setting_checks.check_together(sweep, found)
        setting_checks.check_points(apart(points_here(sweep)))
        setting_checks.check_comparable(sweep, found)
        setting_checks.check_reach(sweep, found)
        sets_model = model is not None or any(MODEL in setting.partition("=")[0] for setting in settings)
        check_checkpoints(sweep, other_models=path.suffix == ".json" or sets_model)
        check_quality(sweep)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return sweep


def with_prices(sweep: SweepFile) -> SweepFile:
    """Read the price lists that limits on costs name, so that the sweep's result holds the prices themselves."""
    if sweep.adaptive is not None and sweep.adaptive.slo is not None:
        slo = with_prices_read(sweep.adaptive.slo, "adaptive.slo")
        sweep = msgspec.structs.replace(sweep, adaptive=msgspec.structs.replace(sweep.adaptive, slo=slo))
    if sweep.search is not None and sweep.search.slo is not None:
        slo = with_prices_read(sweep.search.slo, "search.slo")
        sweep = msgspec.structs.replace(sweep, search=msgspec.structs.replace(sweep.search, slo=slo))
    return sweep


def hold_by_default(document: dict[str, Any]) -> None:
    """Hold a concurrency unless the file says how many requests there are, or when they arrive."""
    search, mix = document.get("adaptive"), document.get("mix")
    axis = search.get("axis") if isinstance(search, dict) else None
    names = (*config_file.axes_of(document), str(axis))
    varied = {name.split(".")[1] for name in names if name.startswith("workload.")}
    hold_unless_given(document.get("workload"), varied)
    for one in mix if isinstance(mix, list) else ():
        hold_unless_given(one.get("workload") if isinstance(one, dict) else None, set())


def hold_unless_given(work: Any, varied: set[str]) -> None:
    if not isinstance(work, dict):
        return
    prompts, given = work.get("prompts"), varied | set(work)
    from_file = isinstance(prompts, dict) and prompts.get("kind") in ("dataset", "questions", "trace")
    work.setdefault("hold", "concurrency" in given and not given & {"num_prompts", "arrivals"} and not from_file)


def replace_model(document: dict[str, Any], model: str) -> None:
    """Apply `--model` to a sweep that measures one model."""
    if (axis := config_file.axes_of(document).get(MODEL)) is not None:
        raise InputError(
            f"--model {model}: the model is an axis of this sweep ({MODEL} = {json.dumps(axis)}): fix it with "
            f"--set {MODEL}={model}, or change the axis with --set 'axes.{MODEL}=[...]'"
        )
    config_file.put(document, MODEL, model)
