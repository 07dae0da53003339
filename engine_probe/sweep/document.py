"""A sweep file's text as a checked document: what is wrong is told with its path, its value and the way out."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from engine_probe.engine.arguments import parse_value, suggestion
from engine_probe.errors import InputError

RESULT_FILE = "sweep.json"  # in a sweep's folder: what was asked, and a row for each point

Section = TypeVar("Section", bound=msgspec.Struct)


def read_document(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not valid TOML: {error}") from error


def read_asked(path: Path) -> dict[str, Any]:
    """What a sweep's folder says was asked."""
    try:
        asked = json.loads(path.read_bytes())["sweep"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{path} is not what a sweep writes ({type(error).__name__}: {error})") from error
    if not isinstance(asked, dict):
        raise InputError(f"{path} is not what a sweep writes: sweep is {asked!r}")
    return asked


def settle(document: dict[str, Any], settings: Iterable[str]) -> None:
    """`--set workload.output_len=8`: a list makes an axis of it, anything else fixes it and ends its axis."""
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or not name:
            raise InputError(f"--set {setting}: give it as name=value, for example workload.output_len=64")
        value = parse_value(text)
        axes = document.setdefault("axes", {})
        axis = name.removeprefix("axes.")
        if axis != name or (name.startswith(("engine.", "workload.")) and isinstance(value, list)):
            axes[axis] = value
        else:
            axes.pop(name, None)
            put(document, name, value)


def put(document: dict[str, Any], name: str, value: object) -> None:
    """Set what stands at a dotted path."""
    *sections, key = name.split(".")
    inner = document
    for section in sections:
        inner = inner.setdefault(section, {})
        if not isinstance(inner, dict):
            raise InputError(f"{name}: {section} is no section, so nothing inside it can be set")
    inner[key] = value


def convert(
    document: Mapping[str, Any],
    kind: type[Section],
    sections: Mapping[str, type[msgspec.Struct]],
    whole: str = "a sweep file",
) -> Section:
    """The document as a frozen `kind`; `sections` names the keys of each place (`options[]`: of each in a list)."""
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise InputError(refusal(str(error), document, sections, whole)) from error


def refusal(
    said: str, document: Mapping[str, Any], sections: Mapping[str, type[msgspec.Struct]], whole: str = "a sweep file"
) -> str:
    """msgspec's words as ours: the key with its path, the value that is there, and what belongs there."""
    problem, _, place = said.partition(" - at `$")
    place = place.strip(".`")
    named = re.fullmatch(r"Object (contains unknown|missing required) field `(.+)`", problem)
    if named is None:
        return f"{place} is {json.dumps(value_at(document, place), default=str)}, {lower(problem)}"
    key = f"{place}.{named[2]}" if place else named[2]
    if named[1] == "missing required":
        return f"{key} is missing"
    section = re.sub(r"\[\d+\]", "[]", place)
    if section not in sections:
        return f"{key} is not known"
    known = sections[section].__struct_fields__
    inside = [
        f"{name}.{named[2]}" for name, section in sections.items() if name and named[2] in section.__struct_fields__
    ]
    if not place and inside:
        return f"{key} is not known: did you mean {' or '.join(inside)}?"
    where = f"[{place}]" if place else whole
    return f"{key} is not known" + suggestion(named[2], known, f": {where} takes {', '.join(known)}")


def value_at(document: Any, place: str) -> Any:
    """What stands at a path such as `axes[...][2]`; the whole where the path leads nowhere."""
    for key, index in re.findall(r"(\w+)|\[(\d+)\]", place):
        try:
            document = document[int(index)] if index else document[key]
        except (KeyError, IndexError, TypeError):
            return document
    return document


def lower(problem: str) -> str:
    text = problem.replace("`", "")
    return text[:1].lower() + text[1:]
