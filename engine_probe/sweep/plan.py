"""A sweep file (TOML) as frozen data: strict, and every point with an identity of its own."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any

import msgspec

from engine_probe.engine.arguments import check_arguments, suggestion
from engine_probe.engine.build import check_model
from engine_probe.engine.spec import EngineSpec
from engine_probe.errors import InputError

Positive = Annotated[int, msgspec.Meta(ge=1)]


class EngineSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    model: str
    arguments: dict[str, Any] = {}


class GridSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    concurrency: Annotated[list[Positive], msgspec.Meta(min_length=1)]
    input_len: Positive
    output_len: Positive
    num_prompts: Positive | None = None  # requests in all; none given: as many as at once, a burst
    seed: int = 0


class SweepFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a sweep asks, of which engine, at which points."""

    question: str
    engine: EngineSection
    grid: GridSection

    @property
    def spec(self) -> EngineSpec:
        return EngineSpec(self.engine.model, self.engine.arguments)


SECTIONS: dict[str, type[msgspec.Struct]] = {"": SweepFile, "engine": EngineSection, "grid": GridSection}


class Point(msgspec.Struct, frozen=True):
    """One measured point: so many requests, at most N at once, each so many tokens in and out."""

    concurrency: int
    num_prompts: int
    input_len: int
    output_len: int
    seed: int

    @property
    def output_tokens(self) -> int:
        return self.num_prompts * self.output_len

    def key(self, engine: EngineSpec) -> str:
        content = json.dumps([engine.key, msgspec.to_builtins(self)], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:12]


def shipped_folder() -> Path:
    """Where the sweeps lie: inside the installed package, or beside it in a checkout."""
    inside = Path(__file__).parent / "shipped"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "sweeps"


def shipped_names() -> list[str]:
    return sorted(path.stem for path in shipped_folder().glob("*.toml"))


def find_sweep(name: str) -> Path:
    """A file by path, or a shipped sweep by name."""
    for path in (Path(name), shipped_folder() / f"{name}.toml"):
        if path.is_file():
            return path
    hint = suggestion(name, shipped_names(), f": shipped are {', '.join(shipped_names())}")
    raise InputError(f"there is no sweep {name!r}{hint}; or give the path of a TOML file")


def read_sweep(name: str) -> SweepFile:
    """Everything that can be wrong about it is said here, before an engine is started."""
    path = find_sweep(name)
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not valid TOML: {error}") from error
    try:
        sweep = msgspec.convert(document, SweepFile)
    except msgspec.ValidationError as error:
        raise InputError(f"{path}: {refusal(str(error), document)}") from error
    try:
        check_model(sweep.engine.model)
        check_arguments(sweep.engine.arguments, "engine.arguments")
        for point in points(sweep):
            check_length(point, sweep.engine.arguments.get("max_model_len"))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return sweep


def check_length(point: Point, max_model_len: object) -> None:
    """vLLM would end an answer that does not fit early, without a word, and the figures would be another point's."""
    asked = point.input_len + point.output_len
    if isinstance(max_model_len, int) and asked > max_model_len:
        raise InputError(
            f"input_len + output_len is {asked}, more than max_model_len = {max_model_len}: shorten them, or raise "
            "max_model_len"
        )


def refusal(said: str, document: dict[str, Any]) -> str:
    """msgspec's words as ours: the key with its path, the value that is there, and what belongs there."""
    problem, _, place = said.partition(" - at `$")
    place = place.strip(".`")
    named = re.fullmatch(r"Object (contains unknown|missing required) field `(.+)`", problem)
    if named is None:
        return f"{place} is {json.dumps(value_at(document, place), default=str)}, {lower(problem)}"
    key = f"{place}.{named[2]}" if place else named[2]
    if named[1] == "missing required":
        return f"{key} is missing"
    known = SECTIONS[place].__struct_fields__
    where = f"[{place}]" if place else "a sweep file"
    return f"{key} is not known" + suggestion(named[2], known, f": {where} takes {', '.join(known)}")


def value_at(document: Any, place: str) -> Any:
    """What stands at a path such as `grid.concurrency[2]`."""
    for key, index in re.findall(r"(\w+)|\[(\d+)\]", place):
        document = document[int(index)] if index else document[key]
    return document


def lower(problem: str) -> str:
    text = problem.replace("`", "")
    return text[:1].lower() + text[1:]


def points(sweep: SweepFile) -> list[Point]:
    grid = sweep.grid
    return [
        Point(level, grid.num_prompts or level, grid.input_len, grid.output_len, grid.seed)
        for level in grid.concurrency
    ]
