"""The geometry catalogue: publishers' own `config.json`, run with dummy weights at true speed and size."""

from __future__ import annotations

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
    """For each name its publisher, what its configuration was checked against, and what vLLM is told beside it."""
    return tomllib.loads((GEOMETRIES / "sources.toml").read_text(encoding="utf-8"))


def catalogue_folder(name: str) -> Path:
    """A model folder as vLLM takes it: the configuration alone."""
    return GEOMETRIES / name


def catalogue_overrides(name: str) -> dict[str, Any]:
    """What vLLM is to read instead of the publisher's own words; most need none."""
    overrides: dict[str, Any] = sources()[name].get("hf_overrides", {})
    return dict(overrides)


def catalogue_config(name: str) -> dict[str, Any]:
    """The publisher's configuration with our overrides: what the engine runs."""
    config: dict[str, Any] = json.loads((catalogue_folder(name) / "config.json").read_text(encoding="utf-8"))
    return config | catalogue_overrides(name)
