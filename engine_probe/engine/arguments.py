"""vLLM's engine arguments by name, read from the installed vLLM's source: importing it takes ten seconds."""

from __future__ import annotations

import ast
import difflib
import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from engine_probe.engine.argument_types import Declared, check_value, declarations
from engine_probe.errors import InputError

# Where each supported vLLM declares them, and the class that does.
FIELDS_OF = ("engine/arg_utils.py", "EngineArgs")
PARAMETERS_OF = ("entrypoints/llm.py", "LLM")

LITERALS = {"True": True, "true": True, "False": False, "false": False, "None": None, "null": None}


@cache
def argument_names() -> frozenset[str]:
    """What the installed vLLM takes besides the model; empty without a vLLM: then nothing can be checked."""
    root = vllm_folder()
    if root is None:
        return frozenset()
    fields = _class(root / FIELDS_OF[0], FIELDS_OF[1])
    parameters = _class(root / PARAMETERS_OF[0], PARAMETERS_OF[1])
    return frozenset({*_fields(fields), *_parameters(parameters)} - {"model", "self"})


def argument_types() -> dict[str, Declared]:
    """Of those that the installed vLLM declares in plain types."""
    root = vllm_folder()
    file = root / FIELDS_OF[0] if root else None
    return declarations(file, FIELDS_OF[1], root) if root and file and file.is_file() else {}


def vllm_folder() -> Path | None:
    package = find_spec("vllm")
    found = package.submodule_search_locations if package else None
    return Path(found[0]) if found else None


def check_arguments(arguments: Mapping[str, object], where: str = "engine arguments") -> None:
    """Refuse a name that the installed vLLM does not know, and a value that cannot be its."""
    names, declared = argument_names(), argument_types()
    for name, value in arguments.items():
        if name == "model":
            raise InputError(f"{where}: model is not an engine argument here: give it as the model itself")
        if names and name not in names:
            hint = suggestion(name, names, ": vLLM's documentation lists them under EngineArgs")
            raise InputError(f"{where}: vLLM has no engine argument {name}{hint}")
        if name in declared:
            check_value(declared[name], name, value, where)


def suggestion(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """`: did you mean ...?`, to end an error's sentence with."""
    near = difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.6)
    return f": did you mean {' or '.join(near)}?" if near else otherwise


def parse_arguments(tokens: Sequence[str], where: str = "command line") -> dict[str, object]:
    """`--max-num-seqs 32 --enforce-eager --no-enable-prefix-caching` as names and values, checked.

    Values are read as JSON or TOML when they are such, else as text. A dotted name sets a key inside a
    mapping, as on vLLM's own command line: `--hf-overrides.num_hidden_layers 2`.
    """
    arguments: dict[str, object] = {}
    position = 0
    while position < len(tokens):
        flag, equals, text = tokens[position].partition("=")
        position += 1
        if not flag.startswith("--") or len(flag) < 3:
            raise InputError(f"{where}: {flag!r} is not an option: engine arguments look like --max-num-seqs 32")
        if not equals and position < len(tokens) and not _is_flag(tokens[position]):
            equals, text = "=", tokens[position]
            position += 1
        name, value = _switch(flag) if not equals else (_underscored(flag), parse_value(text))
        check_arguments({name.partition(".")[0]: value}, where)
        _put(arguments, name, value, where)
    return arguments


def parse_value(text: str) -> object:
    """The JSON or TOML value that `text` spells, else `text`."""
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


def _is_flag(token: str) -> bool:
    """Whether a token opens a new option; `-1` is a value."""
    return token.startswith("--") or (token.startswith("-") and token[1:2].isalpha())


def _underscored(flag: str) -> str:
    name, dot, inside = flag[2:].partition(".")
    return name.replace("-", "_") + dot + inside


def _switch(flag: str) -> tuple[str, bool]:
    """A flag alone means true; with `no-` before a known name it means false."""
    name = _underscored(flag)
    if name.startswith("no_") and name not in argument_names():
        return name.removeprefix("no_"), False
    return name, True


def _put(arguments: dict[str, object], name: str, value: object, where: str) -> None:
    target = arguments
    *path, last = name.split(".")
    for step in path:
        inner = target.setdefault(step, {})
        if not isinstance(inner, dict):
            raise InputError(f"{where}: {name}: {step} was already given as {inner!r}, which has no keys")
        target = inner
    if last in target:
        raise InputError(f"{where}: {name} was given twice: {target[last]!r} and {value!r}")
    target[last] = value


def _class(path: Path, name: str) -> ast.ClassDef | None:
    if not path.is_file():
        return None
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return next((node for node in body if isinstance(node, ast.ClassDef) and node.name == name), None)


def _fields(node: ast.ClassDef | None) -> list[str]:
    body = node.body if node else []
    return [item.target.id for item in body if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)]


def _parameters(node: ast.ClassDef | None) -> list[str]:
    for item in node.body if node else []:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            return [argument.arg for argument in (*item.args.args, *item.args.kwonlyargs)]
    return []
