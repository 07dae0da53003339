"""Starting a `vllm.LLM` from its description."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine_probe.engine.arguments import check_arguments
from engine_probe.engine.cpu.amx import amx_requested
from engine_probe.engine.cpu.cpu_binding import bind_ranks
from engine_probe.engine.cpu.cpu_kv_pool import KvNeed, chosen_pool, pool_of_blocks
from engine_probe.engine.cpu.pipeline_stages import check_stages
from engine_probe.engine.engine_spec import EngineSpec
from engine_probe.engine.failures import startup_error
from engine_probe.engine.models.catalogue import (
    catalogue_config,
    catalogue_folder,
    catalogue_names,
    catalogue_overrides,
)
from engine_probe.engine.models.embedded import EMBEDDED, embedded_config, silent
from engine_probe.engine.models.geometry import Geometry, geometry
from engine_probe.engine.start_phases import IMPORTING
from engine_probe.errors import InputError, UnavailableError
from engine_probe.files.safe_read import read_json
from engine_probe.text_format import suggestion

if TYPE_CHECKING:
    from vllm import LLM

MULTIPROCESSING = "VLLM_ENABLE_V1_MULTIPROCESSING"


def build_llm(
    spec: EngineSpec,
    *,
    multiprocess: bool = False,
    need: KvNeed | None = None,
    engines_here: int = 1,
    say: Callable[[str], None] = silent,
    note: Callable[[str], None] = silent,
) -> LLM:
    """Start an engine in this process, where a probe reaches it, or with its core in another process.

    On the CPU build the KV pool's size is chosen by `need`, unless `spec` sets it, from this engine's part of the
    memory if `engines_here` start at the same time. `say` gets messages about steps of more than two seconds before
    vLLM starts to log, `note` those about what was chosen.
    """
    check_stages(spec.arguments)
    arguments = llm_arguments(spec, say)
    pool, sentence = chosen_pool(Path(str(arguments["model"])), arguments, need, engines_here)
    if sentence:
        note(sentence)
    say(IMPORTING)
    choose_process(multiprocess)
    bind_ranks(spec.arguments)
    try:
        from vllm import LLM
    except ImportError as error:
        raise UnavailableError(_why_no_vllm(error)) from error
    try:
        with amx_requested():
            return LLM(**arguments, **pool)
    except Exception as error:  # the boundary: vLLM, torch, pydantic and the hub have no common error
        raise startup_error(spec.model, error) from error


def llm_arguments(spec: EngineSpec, say: Callable[[str], None] = silent) -> dict[str, object]:
    """Return the arguments of `vllm.LLM`, preparing an embedded model if needed; those of the spec win."""
    check_arguments(spec.arguments)
    model, implied = _resolve(spec, say)
    arguments = {**implied, **spec.arguments, **_overrides(spec)}
    return {"model": model, **arguments, **pool_of_blocks(Path(model), arguments)}


def check_model(name: str) -> None:
    """Refuse an impossible model quickly, without network access or preparation."""
    if name in EMBEDDED or name in catalogue_names():
        return
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not any((folder / config).is_file() for config in ("config.json", "params.json")):
            raise InputError(f"model folder {name} has no config.json: give the folder that holds it")
    elif name.startswith((".", "/", "~")):
        if not folder.is_file():
            raise InputError(
                f"model {name}: there is no such folder; `engine_probe models` lists models that need no folder"
            )
    elif "/" not in name:
        models = sorted([*EMBEDDED, *catalogue_names()])
        hint = suggestion(name, models) or f": the listed models are {', '.join(models)}"
        raise InputError(f"unknown model {name!r}{hint} (or give a folder or org/name)")


def has_config(name: str) -> bool:
    """Return whether a model's `config.json` is on this machine."""
    return name in EMBEDDED or name in catalogue_names() or (Path(name).expanduser() / "config.json").is_file()


def model_config(name: str) -> dict[str, Any]:
    """Return a model's `config.json` as the engine runs it: of an embedded model, the catalogue or a folder."""
    if name in EMBEDDED:
        return embedded_config(name)
    if name in catalogue_names():
        return catalogue_config(name)
    return dict(read_json(Path(name).expanduser() / "config.json"))


@cache
def model_geometry(name: str) -> Geometry | None:
    """Return a model's geometry; None if its configuration is not on this machine, or of a kind only vLLM knows."""
    try:
        return geometry(model_config(name))
    except (InputError, KeyError, TypeError, ValueError, AttributeError, ArithmeticError):
        return None


def max_context(name: str) -> int | None:
    """Return the longest sequence that a model's configuration allows; None if that is not known."""
    shape = model_geometry(name)
    longest = None if shape is None else shape.max_context
    return longest if isinstance(longest, int) and longest > 0 else None


def _resolve(spec: EngineSpec, say: Callable[[str], None]) -> tuple[str, dict[str, object]]:
    """Return the model as vLLM takes it, and the arguments that its kind implies."""
    if spec.model in EMBEDDED:
        return str(EMBEDDED[spec.model](say)), {}
    if spec.model in catalogue_names():
        implied: dict[str, object] = {"load_format": "dummy"}
        if "tokenizer" not in spec.arguments:
            implied["skip_tokenizer_init"] = True
        return str(catalogue_folder(spec.model)), implied
    check_model(spec.model)
    local = Path(spec.model).expanduser()
    return (str(local) if local.exists() else spec.model), {}


def _overrides(spec: EngineSpec) -> dict[str, object]:
    """Merge the catalogue's hf_overrides with the user's, which win, and replace all if they are not a mapping."""
    of_catalogue = catalogue_overrides(spec.model) if spec.model in catalogue_names() else {}
    of_user = spec.arguments.get("hf_overrides", {})
    if not of_catalogue or not isinstance(of_user, Mapping):
        return {}
    return {"hf_overrides": {**of_catalogue, **of_user}}


def choose_process(multiprocess: bool) -> None:
    """Set vLLM's variable for its engine core's process; refuse if vLLM has already read another value."""
    value = "1" if multiprocess else "0"
    os.environ[MULTIPROCESSING] = value
    settings = sys.modules.get("vllm.envs")
    if settings is not None and bool(getattr(settings, MULTIPROCESSING)) != multiprocess:
        raise UnavailableError(
            f"vllm was imported here with another {MULTIPROCESSING}: start a fresh process with "
            f"{MULTIPROCESSING}={value} set before vllm is imported"
        )


def _why_no_vllm(error: ImportError) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name == "vllm":
        return "no vLLM is installed here: install engine-probe[cuda] with a GPU, else engine-probe[cpu]"
    return f"vllm does not import ({error}): `engine_probe doctor --deep` says what is in the way"
