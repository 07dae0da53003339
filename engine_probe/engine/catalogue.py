"""The geometry catalogue: publishers' own `config.json`, run with dummy weights at true speed and size."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

GEOMETRIES = Path(__file__).parent / "geometries"


@cache
def catalogue_names() -> tuple[str, ...]:
    return tuple(sorted(folder.parent.name for folder in GEOMETRIES.glob("*/config.json")))


def catalogue_folder(name: str) -> Path:
    """A model folder as vLLM takes it: the configuration alone."""
    return GEOMETRIES / name


def catalogue_config(name: str) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((catalogue_folder(name) / "config.json").read_text(encoding="utf-8"))
    return config
