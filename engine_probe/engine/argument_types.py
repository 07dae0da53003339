"""The types of vLLM's engine arguments, read from its source without importing it.

Only plain types and lists of words are read; arguments of other types (a class, a function) are left to vLLM to check.
"""

import ast
import difflib
import json
import math
from contextlib import suppress
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import msgspec

from engine_probe.errors import InputError

SWITCH = "true or false"
PLAIN: dict[str, tuple[Any, str]] = {
    "int": (int, "a whole number"),
    "float": (float, "a number"),
    "bool": (bool, SWITCH),
    "str": (str, "text"),
}
# Whole numbers that must be positive, as the classes of vLLM's configuration demand (0.28 to 0.33).
POSITIVE = {"block_size", "kv_cache_memory_bytes", "max_num_batched_tokens", "max_num_seqs", "num_gpu_blocks_override"}
LIMIT = 2**63
FEW_WORDS = 6
DATA = (str, int, float, list, dict)  # types from a file or a command line; vLLM checks other Python objects


class Declared(msgspec.Struct, frozen=True):
    """Holds the type of an argument, and its words in an error message."""

    type: Any
    words: tuple[str, ...]


class _UnknownError(Exception):
    """Raised for a declaration that is not read here."""


def check_value(declared: Declared, name: str, value: object, where: str) -> None:
    """Refuse a value that the declaration rules out. None is always accepted, as it is vLLM's default for many."""
    if not isinstance(value, DATA):
        return
    try:
        msgspec.convert(value, declared.type, strict=False)
    except msgspec.ValidationError:
        hint = expected(declared.words, value)
        raise InputError(f"{where}: {name} is {json.dumps(value, default=str)}: {hint}") from None


def expected(words: tuple[str, ...], value: object = "") -> str:
    """Say which words vLLM takes; of a long list the nearest to a value, or else the first few."""
    if len(words) <= FEW_WORDS:
        return f"vLLM takes {', '.join(words)}"
    if near := difflib.get_close_matches(str(value), words, 1):
        return f"did you mean {near[0]}?"
    return f"vLLM takes {', '.join(words[:FEW_WORDS])} and {len(words) - FEW_WORDS} more"


def check_number(name: str, value: object, where: str) -> None:
    """Refuse numbers that no argument takes, and those out of the range of a known one."""
    if isinstance(value, dict):
        for key, inner in value.items():
            check_number(f"{name}.{key}", inner, where)
    elif isinstance(value, bool) or not isinstance(value, int | float):
        return
    elif not math.isfinite(value) or abs(value) >= LIMIT:
        raise InputError(f"{where}: {name} is {value}, which is not a number that vLLM can take")
    elif name in POSITIVE and value < 1:
        raise InputError(f"{where}: {name} is {value}: vLLM takes 1 or more")
    elif name == "max_model_len" and value < 1 and value != -1:
        raise InputError(f"{where}: {name} is {value}: vLLM takes 1 or more, or -1 for as much as fits")
    elif name == "gpu_memory_utilization" and not 0 < value <= 1:
        raise InputError(f"{where}: {name} is {value:g}, a share: give 0.9 or so")


@cache
def declaration(name: str, file: Path, owner: str, root: Path) -> Declared | None:
    """Return the type of a field of a class in a file of the package at `root`; None for one that is not read here."""
    fields = (node.body for node in parsed(file).body if isinstance(node, ast.ClassDef) and node.name == owner)
    for item in chain.from_iterable(fields):
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name) and item.target.id == name:
            with suppress(_UnknownError):
                return _declared(item.annotation, _imports(file), root)
    return None


@cache
def _imports(file: Path) -> dict[str, str]:
    """Return the names that a module imports, each with where from."""
    return {
        alias.asname or alias.name: node.module
        for node in ast.walk(parsed(file))
        if isinstance(node, ast.ImportFrom) and node.module and not node.level
        for alias in node.names
    }


@cache
def parsed(file: Path) -> ast.Module:
    """Return a source file's tree; vLLM's longest takes a tenth of a second."""
    return ast.parse(file.read_text(encoding="utf-8"))


def lists_among(node: ast.ClassDef | None) -> dict[str, bool]:
    """Return the fields that are lists, tuples or sets, each with whether its items are text."""
    lists = {}
    for item in node.body if node else ():
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            for kind in _alternatives(item.annotation):
                match kind:
                    case ast.Subscript(value=ast.Name(id="list" | "tuple" | "set"), slice=inner):
                        numbers = {"int", "float"} & {part.id for part in ast.walk(inner) if isinstance(part, ast.Name)}
                        lists[item.target.id] = not numbers
    return lists


def _alternatives(node: ast.expr) -> list[ast.expr]:
    """Return the parts of `A | B | C`."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return [*_alternatives(node.left), *_alternatives(node.right)]
    return [node]


def _declared(node: ast.expr, imported: dict[str, str], root: Path) -> Declared:
    match node:
        case ast.Name(id=name) if name in PLAIN:
            kind, word = PLAIN[name]
            return Declared(kind, (word,))
        case ast.Constant(value=None):
            return Declared(type(None), ())
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            first, second = _declared(left, imported, root), _declared(right, imported, root)
            return Declared(first.type | second.type, first.words + second.words)
        case ast.Subscript(value=ast.Name(id="Literal")):
            return _words(node)
        case ast.Name(id=name) if name in imported:
            return _words(_assigned(name, imported[name], root))
    raise _UnknownError


def _words(node: ast.expr) -> Declared:
    """Return the words of `Literal["a", "b"]`."""
    if not (isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "Literal"):
        raise _UnknownError
    items = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    values = [item.value for item in items if isinstance(item, ast.Constant) and isinstance(item.value, str | int)]
    if len(values) < len(items):
        raise _UnknownError
    return Declared(Literal[tuple(values)], tuple(map(str, values)))


def _assigned(name: str, module: str, root: Path) -> ast.expr:
    """Return the value that a module of the package assigns to a name."""
    package, _, inside = module.partition(".")
    path = root.joinpath(*inside.split(".")) if inside else root
    file = next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)
    if package != root.name or file is None:
        raise _UnknownError
    for node in parsed(file).body:
        match node:
            case ast.Assign(targets=[ast.Name(id=target)], value=value) if target == name:
                return value
            case ast.AnnAssign(target=ast.Name(id=target), value=ast.expr() as value) if target == name:
                return value
    raise _UnknownError
