"""A sweep file (TOML) as frozen data: strict, and every point with an identity of its own."""

from __future__ import annotations

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from engine_probe.engine.spec import EngineSpec
from engine_probe.errors import InputError


class EngineSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    model: str
    arguments: dict[str, Any] = {}


class GridSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    concurrency: list[int]
    input_len: int
    output_len: int
    seed: int = 0


class SweepFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a sweep asks, of which engine, at which points."""

    question: str
    engine: EngineSection
    grid: GridSection


class Point(msgspec.Struct, frozen=True):
    """One measured point: N requests at once, each so many tokens in and out."""

    concurrency: int
    input_len: int
    output_len: int
    seed: int

    def key(self, engine: EngineSpec) -> str:
        content = json.dumps([engine.key, msgspec.to_builtins(self)], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:12]


def shipped_folder() -> Path:
    """Where the sweeps lie: inside the installed package, or beside it in a checkout."""
    inside = Path(__file__).parent / "shipped"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "sweeps"


def shipped_names() -> list[str]:
    return sorted(path.stem for path in shipped_folder().glob("*.toml"))


def read_sweep(name: str) -> SweepFile:
    """A shipped sweep by name, or a file by path."""
    path = Path(name)
    if not path.is_file():
        path = shipped_folder() / f"{name}.toml"
    if not path.is_file():
        raise InputError(f"there is no sweep {name!r}: shipped are {', '.join(shipped_names())}; or give a TOML file")
    try:
        sweep = msgspec.convert(tomllib.loads(path.read_text()), SweepFile)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no valid TOML: {error}") from error
    except msgspec.ValidationError as error:
        raise InputError(f"{path}: {error}") from error
    if not sweep.grid.concurrency:
        raise InputError(f"{path}: grid.concurrency is empty, give at least one number of requests")
    for field, value in [("input_len", sweep.grid.input_len), ("output_len", sweep.grid.output_len)]:
        if value < 1:
            raise InputError(f"{path}: grid.{field} is {value}, give a positive number of tokens")
    if (least := min(sweep.grid.concurrency)) < 1:
        raise InputError(f"{path}: grid.concurrency holds {least}, give positive numbers of requests")
    return sweep


def points(sweep: SweepFile) -> list[Point]:
    grid = sweep.grid
    return [Point(level, grid.input_len, grid.output_len, grid.seed) for level in grid.concurrency]
