"""vLLM's engine arguments, read from the source of the installed vLLM, because importing it takes ten seconds."""

import ast
import difflib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from engine_probe.engine import argument_types
from engine_probe.errors import InputError
from engine_probe.files.config_file import parse_value
from engine_probe.text_format import suggestion

# File and class in which every supported vLLM declares them.
FIELDS_OF = ("engine/arg_utils.py", "EngineArgs")
PARAMETERS_OF = ("entrypoints/llm.py", "LLM")


@cache
def argument_names() -> frozenset[str]:
    """Return the names of all arguments besides the model; empty without a vLLM, so that nothing can be checked."""
    names = {*_fields(_class(*FIELDS_OF)), *_parameters(_class(*PARAMETERS_OF))}
    return frozenset(names - {"model", "self"})


@cache
def short_forms() -> dict[str, str]:
    """Return short options such as `-tp`, each with its long form in the installed vLLM."""
    long_forms: dict[str, str] = {}
    for node in ast.walk(_source(FIELDS_OF[0])):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "add_argument":
            forms = [form.value for form in node.args if isinstance(form, ast.Constant) and isinstance(form.value, str)]
            long = next((form for form in forms if form.startswith("--")), None)
            long_forms |= {form: long for form in forms if long and not form.startswith("--")}
    return long_forms


def argument_type(name: str) -> argument_types.Declared | None:
    """Return the type of an argument that the installed vLLM declares in a plain type."""
    root = vllm_folder()
    file = root / FIELDS_OF[0] if root else None
    return argument_types.declaration(name, file, FIELDS_OF[1], root) if root and file and file.is_file() else None


@cache
def list_arguments() -> dict[str, bool]:
    """Return the arguments that take several words in the installed vLLM, each with whether its items are text."""
    return argument_types.lists_among(_class(*FIELDS_OF))


def vllm_folder() -> Path | None:
    package = find_spec("vllm")
    locations = package.submodule_search_locations if package else None
    return Path(locations[0]) if locations else None


def check_arguments(arguments: Mapping[str, object], where: str = "engine arguments") -> None:
    """Refuse a name that the installed vLLM does not have, and a value that it cannot take."""
    for name, value in arguments.items():
        names, declared = argument_names(), argument_type(name)
        if name == "model":
            raise InputError(f"{where}: model is not an engine argument here: give it as the model itself")
        if names and name not in names:
            hint = suggestion(name, names, ": vLLM's documentation lists them under EngineArgs")
            raise InputError(f"{where}: vLLM has no engine argument {name}{hint}")
        if declared:
            argument_types.check_value(declared, name, value, where)
        argument_types.check_number(name, value, where)


def dashed(name: str) -> str:
    """Return an engine argument as vLLM's command line spells it."""
    return f"--{name.replace('_', '-')}"


def take_option(word: str, words: list[str]) -> str:
    """Return one of vLLM's options as `--name=value`, removing its values from the words that follow.

    As in vLLM's parser `-O3` and `-O 3` are `--optimization-level 3`, and an argument that is a list takes every word
    up to the next option.
    """
    if word.startswith("-O") and "." not in word and "optimization_level" in argument_names():
        level = word[2:].removeprefix("=") or (words.pop(0) if words and not is_option(words[0]) else "")
        return f"--optimization-level={level}" if level else word
    if "=" in word or not is_option(word) or not words or is_option(words[0]):
        return word
    text = list_arguments().get(_underscored(word))
    if text is None:
        return f"{word}={words.pop(0)}"
    values: list[str] = []
    while words and not is_option(words[0]):
        values.append(words.pop(0))
    if len(values) == 1 and isinstance(parse_value(values[0]), list):
        return f"{word}={values[0]}"
    return f"{word}={json.dumps(values if text else [parse_value(value) for value in values])}"


def is_option(word: str) -> bool:
    """Return whether a word is an option; `-1` is a value."""
    return word.startswith("--") or (word.startswith("-") and word[1:2].isalpha())


def parse_arguments(words: Sequence[str], where: str = "command line", own: Sequence[str] = ()) -> dict[str, object]:
    """Parse and check options such as `--max-num-seqs=32 --enforce-eager --no-enable-prefix-caching`.

    Values that are JSON or TOML are parsed, others are text. A dotted name sets a key inside a mapping, as on vLLM's
    own command line: `--hf-overrides.num_hidden_layers=2`. `own` are the command's own options, which an error may
    suggest for a misspelt name.
    """
    arguments: dict[str, object] = {}
    for word in words:
        flag, equals, text = word.partition("=")
        if not flag.startswith("-") or len(flag) < 2:
            raise InputError(
                f"{where}: {word!r} belongs to no option: write --option VALUE, and a list as --option '[1, 2]'"
            )
        name, value = (_underscored(flag), parse_value(text)) if equals else _switch(flag)
        _check_option(flag, name.partition(".")[0], where, own)
        declared = argument_type(name)
        if value is True and not equals and declared and argument_types.SWITCH not in declared.words:
            raise InputError(f"{where}: {flag} needs a value: {argument_types.expected(declared.words)}")
        check_arguments({name.partition(".")[0]: {} if "." in name else value}, where)
        _put(arguments, name, value, where)
    return arguments


def _check_option(flag: str, name: str, where: str, own: Sequence[str]) -> None:
    """Refuse an option that neither the command nor vLLM has, and suggest the nearest."""
    names = argument_names()
    if not names or name in names or name == "model":
        return
    stem = flag.partition(".")[0].lstrip("-").replace("_", "-")
    options = {option.lstrip("-") for option in (*own, *map(dashed, names))}
    if stem.startswith("no-"):
        options |= {f"no-{option}" for option in options}
    near = difflib.get_close_matches(stem, sorted(options), n=1, cutoff=0.6)
    hint = f"did you mean --{near[0]}?" if near else f"engine_probe {where} --help lists ours, EngineArgs vLLM's"
    raise InputError(f"{where}: there is no option {flag}, here or in vLLM: {hint}")


def _underscored(flag: str) -> str:
    """Return the argument's name of a flag, also of one of vLLM's short forms such as `-tp`."""
    name, dot, inside = flag.partition(".")
    long = name if name.startswith("--") else short_forms().get(name, name)
    return long.lstrip("-").replace("-", "_") + dot + inside


def _switch(flag: str) -> tuple[str, bool]:
    """Return name and value of a flag without a value: true, or false for `--no-` before a known name."""
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


def _source(file: str) -> ast.Module:
    """Return a file of the installed vLLM; an empty one if there is none."""
    path = (vllm_folder() or Path()) / file
    return argument_types.parsed(path) if path.is_file() else ast.Module([], [])


def _class(file: str, name: str) -> ast.ClassDef | None:
    return next((node for node in _source(file).body if isinstance(node, ast.ClassDef) and node.name == name), None)


def _fields(node: ast.ClassDef | None) -> list[str]:
    body = node.body if node else []
    return [item.target.id for item in body if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)]


def _parameters(node: ast.ClassDef | None) -> list[str]:
    for item in node.body if node else []:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            return [argument.arg for argument in (*item.args.args, *item.args.kwonlyargs)]
    return []
