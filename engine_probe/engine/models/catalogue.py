"""The catalogue of geometries: models' published `config.json`, run with dummy weights at true speed and size."""

import json
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

GEOMETRIES = Path(__file__).parent / "geometries"


@cache
def catalogue_names() -> tuple[str, ...]:
    return tuple(sources())


@cache
def sources() -> dict[str, dict[str, Any]]:
    """Return for each name its publisher, what its configuration was checked against, and its overrides for vLLM."""
    return tomllib.loads((GEOMETRIES / "sources.toml").read_text(encoding="utf-8"))


def catalogue_folder(name: str) -> Path:
    """Return the model folder for vLLM, which holds only the configuration."""
    return GEOMETRIES / name


def catalogue_overrides(name: str) -> dict[str, Any]:
    """Return the values that vLLM reads instead of the published ones; most models have none."""
    overrides: dict[str, Any] = sources()[name].get("hf_overrides", {})
    return dict(overrides)


def catalogue_config(name: str) -> dict[str, Any]:
    """Return the published configuration with the overrides, as the engine runs it."""
    config: dict[str, Any] = json.loads((catalogue_folder(name) / "config.json").read_text(encoding="utf-8"))
    return config | catalogue_overrides(name)
