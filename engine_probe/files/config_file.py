"""TOML documents converted to types, with errors that name the key, its value and what to write instead."""

import copy
import json
import math
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec.inspect import DictType, ListType, LiteralType, Metadata, StructType, Type, UnionType, type_info

from engine_probe.errors import InputError
from engine_probe.files.safe_read import read_json
from engine_probe.text_format import suggestion

RESULT_FILE = "sweep.json"  # in a sweep's folder: the sweep file, and a row for each point
SUITE_FILE = "suite.json"  # in a suite's folder: its sections, and a row for each sweep
MOST = 2**63
TYPES = {  # as msgspec calls them
    "array": "a list",
    "object": "a table",
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
}

Section = TypeVar("Section", bound=msgspec.Struct)
Keys = type[msgspec.Struct] | tuple[type[msgspec.Struct], ...]  # several are distinguished by `kind`

LITERALS = {"True": True, "true": True, "False": False, "false": False, "None": None, "null": None}


def read_asked(path: Path) -> dict[str, Any]:
    """Return the sweep file that a sweep's result holds."""
    document = read_json(path)
    asked = document.get("sweep") if isinstance(document, dict) else None
    if not isinstance(asked, dict):
        raise InputError(f"{path} is not what a sweep writes: it holds no sweep to measure again")
    return asked


def settle(document: dict[str, Any], settings: Iterable[str]) -> None:
    """Apply `--set workload.output_len=8`: a list makes an axis, any other value fixes the key and removes its axis."""
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or not all(name.split(".")):
            raise InputError(f"--set {setting}: give it as name=value, for example workload.output_len=64")
        value, axes = parse_value(text), axes_of(document)
        axis = name.removeprefix("axes.")
        if axis != name or (name.startswith(("engine.", "workload.")) and isinstance(value, list)):
            axes[axis] = value
        else:
            axes.pop(name, None)
            put(document, name, value)


def axes_of(document: dict[str, Any]) -> dict[str, Any]:
    """Return the axes of a sweep file, to which others may be added."""
    axes = document.setdefault("axes", {})
    if not isinstance(axes, dict):
        raise InputError(f"axes is {json.dumps(axes, default=str)}, expected a table")
    return axes


def check_given_once(settings: Iterable[str]) -> None:
    """Refuse a key to which a command line gives two values."""
    given: dict[str, str] = {}
    for setting in settings:
        name, _, text = setting.partition("=")
        name = name.removeprefix("axes.")
        if given.setdefault(name, text) != text:
            raise InputError(f"--set {name} is given twice, as {given[name]} and as {text}: leave one of them out")


def check_numbers(value: Any, place: str = "") -> None:
    """Refuse numbers that are not finite or do not fit into 64 bits, which no engine takes."""
    if isinstance(value, dict):
        for key, inner in value.items():
            step = f'["{key}"]' if "." in str(key) else f".{key}" if place else str(key)
            check_numbers(inner, place + step)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            check_numbers(inner, f"{place}[{number}]")
    elif isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{place} is {value}: give a finite number")
    elif isinstance(value, int) and abs(value) >= MOST:
        raise InputError(f"{place} is {value}: give a number of at most 64 bits")


def put(document: dict[str, Any], name: str, value: object) -> None:
    """Set the value at a dotted path."""
    *sections, key = name.split(".")
    inner = document
    for section in sections:
        inner = inner.setdefault(section, {})
        if not isinstance(inner, dict):
            raise InputError(f"{name}: {section} is no section, so nothing inside it can be set")
    inner[key] = value


def convert(
    document: Mapping[str, Any], kind: type[Section], sections: Mapping[str, Keys], whole: str = "a sweep file"
) -> Section:
    """Convert a document; `sections` has the keys of each place (`options[]`: of each in a list) for errors."""
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise InputError(refusal(located(str(error), document, kind), document, kind, sections, whole)) from error


def located(message: str, document: Mapping[str, Any], kind: type[Section]) -> str:
    """Replace `[...]` in msgspec's message by the key, in a table with arbitrary keys."""
    found = re.search(r" - at `\$\.([\w.]+)\[\.\.\.\]", message)
    if found is None:
        return message
    name = found[1]
    for key, value in value_at(document, name).items():
        alone = copy.deepcopy(dict(document))
        put(alone, name, {key: value})
        try:
            msgspec.convert(alone, kind)
        except msgspec.ValidationError as error:
            if str(error) == message:
                return message.replace("[...]", f'["{key}"]', 1)
    return message


def refusal(
    message: str, document: Mapping[str, Any], kind: type[msgspec.Struct], sections: Mapping[str, Keys], whole: str
) -> str:
    """Rewrite msgspec's message: the key with its path, its value, and what is allowed."""
    problem, _, place = message.partition(" - at `$")
    place = place.strip(".`")
    named = re.fullmatch(r"Object (contains unknown|missing required) field `(.+)`", problem)
    if named is None:
        value = value_at(document, place)
        start = f"{place} is {json.dumps(value, default=str)}, "
        if problem.startswith("Invalid") and (words := words_at(kind, document, place)):
            return f"{start}expected {one_of(words)}{suggestion(str(value), words)}"
        return start + in_words(problem)
    key = f"{place}.{named[2]}" if place else named[2]
    if named[1] == "missing required":
        return f"{key} is missing"
    section = re.sub(r"\[\d+\]", "[]", re.sub(r'\["[^"]+"\]', "[...]", place))
    allowed = keys_of(sections.get(section), value_at(document, place))
    if allowed is None:
        return f"{key} is not known"
    inside = [
        f"{name}.{named[2]}"
        for name, fields in sections.items()
        if name and not isinstance(fields, tuple) and named[2] in fields.__struct_fields__
    ]
    if not place and inside:
        return f"{key} is not known: did you mean {' or '.join(inside)}?"
    where = f"[{place}]" if place else whole
    return f"{key} is not known" + suggestion(named[2], allowed, f": {where} takes {', '.join(allowed)}")


def one_of(words: Sequence[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last


def keys_of(section: Keys | None, value: Any) -> tuple[str, ...] | None:
    """Return the keys that a place takes; of a table of several kinds, those of the kind that the value names."""
    if not isinstance(section, tuple):
        return section.__struct_encode_fields__ if section else None
    kind = value.get("kind") if isinstance(value, dict) else None
    return next((one.__struct_encode_fields__ for one in section if one.__struct_config__.tag == kind), None)


def value_at(document: Any, place: str) -> Any:
    """Return the value at a path such as `axes[...][2]`; where the path leads nowhere, the last value on it."""
    for name, index, key in PLACE.findall(place):
        try:
            document = document[int(index)] if index else document[name or key]
        except (KeyError, IndexError, TypeError):
            return document
    return document


def in_words(problem: str) -> str:
    """Return msgspec's message without the types of Python; what was found there is in front of it."""
    text = re.sub(r", got `[^`]+`", "", problem)
    for kind, words in TYPES.items():
        text = re.sub(rf"(`[^`]*)\b{kind}\b", rf"\g<1>{words}", text)
    text = text.replace("`", "").replace(" | null", "").replace(" | ", " or ")
    return text[:1].lower() + text[1:]


def flat(axes: Any) -> Any:
    """Join nested tables of axes: `workload.concurrency = [...]` without quotation marks is nested in TOML."""
    if not isinstance(axes, dict):
        return axes
    found: dict[str, Any] = {}
    for name, value in axes.items():
        if isinstance(value, dict) and value and all(isinstance(inner, dict | list) for inner in value.values()):
            found |= {f"{name}.{inner}": content for inner, content in flat(value).items()}
        else:
            found[name] = value
    return found


def parse_value(text: str) -> object:
    """Return the JSON or TOML value of a text, or the text itself."""
    if text in LITERALS:
        return LITERALS[text]
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, KeyError):
        return text
    return value if isinstance(value, bool | int | float | str | list | dict) else text


PLACE = re.compile(r'\["([^"]+)"\]|\[(\d+)\]|(\w+)')


def words_at(kind: type[msgspec.Struct], document: Any, place: str) -> list[str]:
    """Return the words of a choice, or the kinds of a table; empty if any value is allowed."""
    types: list[Type] = [type_info(kind)]
    for name, index, key in PLACE.findall(place):
        step = name or index or key
        types = [inner for one in types for inner in below(one, step, document)]
        document = inside(document, step)
    return [str(word) for one in types for word in (one.values if isinstance(one, LiteralType) else ())]


def below(one: Type, step: str, value: Any) -> Iterator[Type]:
    """Yield the types of a key; of a table of several kinds, those of the kind that the value names."""
    match one:
        case DictType():
            yield from alternatives(one.value_type)
        case ListType():
            yield from alternatives(one.item_type)
        case StructType() if step == one.tag_field:
            yield LiteralType((one.tag,))
        case StructType() if one.tag_field is None or inside(value, one.tag_field) == one.tag:
            for field in one.fields:
                if field.encode_name == step:
                    yield from alternatives(field.type)


def alternatives(one: Type) -> tuple[Type, ...]:
    """Return the types that a value may have, without the key's description."""
    one = one.type if isinstance(one, Metadata) else one
    return one.types if isinstance(one, UnionType) else (one,)


def inside(value: Any, step: str) -> Any:
    try:
        return value[int(step)] if isinstance(value, list) else value[step]
    except (KeyError, IndexError, TypeError, ValueError):
        return None
