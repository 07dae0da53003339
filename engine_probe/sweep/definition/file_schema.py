"""The keys of a sweep file as data, for docs/sweep_files.md, `sweep --init` and the JSON Schema."""

import inspect
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import inspect as kinds

from engine_probe.sweep.definition.sweep_file import SECTIONS, SweepFile
from engine_probe.workload.lengths import Geometric, Lognormal, Normal, Uniform

LENGTH = "a length"  # the place of the tables that describe random lengths
LENGTH_TYPES: tuple[type[msgspec.Struct], ...] = (Uniform, Normal, Lognormal, Geometric)
LENGTH_NAMES = {kind.__name__ for kind in LENGTH_TYPES}


@dataclass(frozen=True)
class Key:
    """One key: its type in words, its default and an example in TOML."""

    name: str
    kind: str
    required: bool
    default: str | None  # None also for a table, whose keys have their own defaults
    text: str
    example: str | None
    table: bool


@dataclass(frozen=True)
class KeyTable:
    """The keys of one place; of one kind if the place may hold several."""

    place: str
    kind: str | None
    text: str
    keys: tuple[Key, ...]


def tables() -> Iterator[KeyTable]:
    """Yield the tables of a sweep file, in the order in which people write them."""
    for place, classes in {**SECTIONS, LENGTH: LENGTH_TYPES}.items():
        for one in classes if isinstance(classes, tuple) else (classes,):
            yield table_of(place, one)


def table_of(place: str, cls: type[msgspec.Struct]) -> KeyTable:
    found = kinds.type_info(cls)
    assert isinstance(found, kinds.StructType)
    keys = tuple(key_of(field) for field in found.fields)
    return KeyTable(place, None if found.tag is None else str(found.tag), paragraph(inspect.getdoc(cls) or ""), keys)


def key_of(field: kinds.Field) -> Key:
    described = field.type
    extra: dict[str, Any] = described.extra_json_schema or {} if isinstance(described, kinds.Metadata) else {}
    types = alternatives(described)
    is_table = any(isinstance(one, kinds.StructType | kinds.DictType) and not is_length(one) for one in types)
    default = None if field.default in (msgspec.NODEFAULT, None) else field.default
    return Key(
        name=field.encode_name,
        kind=words_of(types),
        required=field.required,
        default=None if default is None or isinstance(default, msgspec.Struct) else toml(default),
        text=extra.get("description", ""),
        example=toml(extra["examples"][0]) if "examples" in extra else None,
        table=is_table,
    )


def alternatives(one: kinds.Type) -> tuple[kinds.Type, ...]:
    """Return every type that a value may have, except null, which TOML lacks."""
    if isinstance(one, kinds.Metadata):
        return alternatives(one.type)
    if isinstance(one, kinds.UnionType):
        return tuple(inner for each in one.types for inner in alternatives(each))
    return () if isinstance(one, kinds.NoneType) else (one,)


def is_length(one: kinds.Type) -> bool:
    return isinstance(one, kinds.StructType) and one.cls.__name__ in LENGTH_NAMES


def words_of(types: tuple[kinds.Type, ...]) -> str:
    lengths = [one for one in types if is_length(one)]
    words = [word_of(one) for one in types if not is_length(one)]
    if lengths:
        tags = ", ".join(str(one.tag) for one in lengths if isinstance(one, kinds.StructType))
        words.append(LENGTH if len(lengths) == len(LENGTH_TYPES) else f"{LENGTH} of kind {tags}")
    return " or ".join(dict.fromkeys(words))


def word_of(one: kinds.Type) -> str:
    match one:
        case kinds.BoolType():
            return "true or false"
        case kinds.IntType():
            return f"whole number{limits(one)}"
        case kinds.FloatType():
            return f"number{limits(one)}"
        case kinds.StrType():
            return "text"
        case kinds.LiteralType():
            return ", ".join(json.dumps(value) for value in one.values)
        case kinds.ListType() | kinds.VarTupleType():
            return "list"
    return "table"


def limits(one: kinds.IntType | kinds.FloatType) -> str:
    bounds = [(one.ge, "from"), (one.gt, "above"), (one.le, "to"), (one.lt, "below")]
    return "".join(f" {word} {limit:g}" for limit, word in bounds if limit is not None)


def toml(value: Any) -> str:
    """Return a value as TOML on one line."""
    if isinstance(value, dict):
        inside = ", ".join(f"{name_of(key)} = {toml(inner)}" for key, inner in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml, value))}]"
    return json.dumps(value, ensure_ascii=False)


def name_of(key: str) -> str:
    return key if key.replace("_", "").isalnum() else json.dumps(key)


def paragraph(text: str) -> str:
    """Return a docstring as one line."""
    return " ".join(text.split())


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema by which editors check and explain a sweep file."""
    schema = msgspec.json.schema(SweepFile)
    definitions = schema["$defs"]
    definitions["Axis"] = {
        "description": "A list of values, a range, or further parts of the axis's name: workload.concurrency = [1, 2].",
        "anyOf": [
            {"type": "array"},
            {"$ref": "#/$defs/Range"},
            {"type": "object", "minProperties": 1, "additionalProperties": {"$ref": "#/$defs/Axis"}},
        ],
    }
    definitions["SweepFile"]["properties"]["axes"]["additionalProperties"] = {"$ref": "#/$defs/Axis"}
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "A sweep of engine_probe"}
    tidied: dict[str, Any] = without_null(schema)
    return {**head, **tidied}


def without_null(value: Any) -> Any:
    """Remove null as default and as alternative, since TOML has none, and put descriptions on one line."""
    if isinstance(value, list):
        return [without_null(inner) for inner in value if inner != {"type": "null"}]
    if not isinstance(value, dict):
        return value
    kept: dict[str, Any] = {
        key: paragraph(inner) if key == "description" and isinstance(inner, str) else without_null(inner)
        for key, inner in value.items()
        if not (key == "default" and (inner is None or isinstance(inner, dict)))
    }
    if len(kept.get("anyOf", ())) == 1:
        kept |= kept.pop("anyOf")[0]
    return kept
