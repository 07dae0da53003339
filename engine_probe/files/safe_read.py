"""Reading untrusted files: kind and size are checked first, then UTF-8, nesting and numbers.

Every refusal is an `InputError` that names the file. Values that are returned can be encoded as UTF-8, walked
recursively and calculated with; the caller checks which keys and types a file must hold.
"""

import csv
import io
import json
import math
import os
import re
import reprlib
import stat
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from engine_probe.errors import InputError

MIB = 2**20
MOST_BYTES = 256 * MIB  # of a file written by engine_probe or by hand
MOST_DATA_BYTES = 8192 * MIB  # of a data set or a trace
MOST_DEPTH = 64  # of lists and objects within each other
MOST_DIGITS = 20  # of an integer: 64 bits and a sign
MOST_NUMBER = 1e100  # so that sums and products stay finite
MOST_FIELD = 2**20  # characters of one field of a CSV file
MOST_PATH = 200  # characters of a key's path in a sentence

KINDS = ((stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"), (stat.S_ISDIR, "a folder"))
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 80
SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")

Kind = TypeVar("Kind")


def regular_size(path: Path) -> int:
    """Return the size of a regular file; refuse devices, pipes and folders without reading them."""
    return _checked_size(path, path.stat())


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """Read a regular file of at most so many bytes."""
    try:
        # Without O_NONBLOCK opening a pipe waits for a writer.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            size = _checked_size(path, os.fstat(file.fileno()))
            content = file.read(size) if size <= most else b""
    except FileNotFoundError as error:
        raise InputError(f"there is no file {path}: give the path of an existing file") from error
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or error
        raise InputError(f"{path} cannot be read ({cause}): give a readable file") from error
    if size > most:
        raise InputError(f"{path} has {size:,} bytes, more than the {most:,} that are read of such a file")
    return content


def read_text(path: Path, most: int = MOST_BYTES) -> str:
    """Read UTF-8, with or without a byte order mark."""
    content = read_bytes(path, most)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} cannot be read as text (not UTF-8 at byte {error.start}): save it as UTF-8"
        ) from error


def read_json(path: Path, most: int = MOST_BYTES) -> Any:
    try:
        return parse_json(read_text(path, most))
    except ValueError as error:
        raise InputError(f"{path} cannot be read as JSON ({error})") from error


def read_json_as(path: Path, kind: type[Kind]) -> Kind:
    """Read JSON into a `msgspec.Struct`."""
    try:
        return msgspec.convert(read_json(path), kind)
    except msgspec.ValidationError as error:
        raise InputError(f"{path} is not what engine_probe writes ({error})") from error


def read_json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each line's object with its place; only line feeds end a line, as in JSON Lines."""
    for number, line in enumerate(read_text(path, MOST_DATA_BYTES).split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            entry = parse_json(line)
        except ValueError as error:
            raise InputError(f"{where} is not valid JSON ({error}): give one object on each line") from error
        if not isinstance(entry, dict):
            raise InputError(f"{where} is {line.strip()[:40]!r}, expected a JSON object")
        yield where, entry


def read_toml(path: Path) -> dict[str, Any]:
    try:
        document = tomllib.loads(read_text(path))
        _check_values(document)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid TOML: {reason(error)}") from error
    return document


def read_csv(path: Path, most: int = MOST_BYTES) -> tuple[list[str], Iterator[tuple[str, dict[str, str]]]]:
    """Return the column names, and each row with its place; missing cells are empty."""
    csv.field_size_limit(MOST_FIELD)
    rows = csv.reader(io.StringIO(read_text(path, most), newline=""))
    try:
        names = next(rows, [])
    except csv.Error as error:
        raise InputError(f"{path}:1 cannot be read as CSV ({error})") from error
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"{path} has two columns {twice[:40]!r}: give each a name of its own")

    def below() -> Iterator[tuple[str, dict[str, str]]]:
        try:
            for row in filter(None, rows):
                yield f"{path}:{rows.line_num}", dict(zip(names, row + [""] * (len(names) - len(row)), strict=False))
        except csv.Error as error:
            raise InputError(f"{path}:{rows.line_num} cannot be read as CSV ({error})") from error

    return names, below()


def parse_json(text: str) -> Any:
    """Parse JSON; raise `ValueError` with key and reason for a value that cannot be used."""
    beyond: list[_Beyond] = []

    def integer(digits: str) -> Any:
        if len(digits) <= MOST_DIGITS:
            return int(digits)
        beyond.append(_Beyond(f"an integer of {len(digits)} digits, {digits[:MOST_DIGITS]}..."))
        return beyond[-1]

    def number(digits: str) -> Any:
        value = float(digits)
        if not abs(value) > MOST_NUMBER:
            return value
        beyond.append(_Beyond(f"the number {digits[:40]}, beyond {MOST_NUMBER:g}"))
        return beyond[-1]

    try:
        value = json.loads(text, parse_int=integer, parse_float=number)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    _check_depth(value)
    for path, inner in _values(value) if beyond else ():
        if isinstance(inner, _Beyond):
            raise ValueError(f"{_place(path)} is {inner.reason}")
    if SURROGATE.search(text) and not _is_text(value):
        raise ValueError("half of a surrogate pair, which is no character")
    return value


def shown(value: object) -> str:
    """Return a value for a sentence, cut if it is long."""
    return _SHORT.repr(value)


def reason(error: BaseException) -> str:
    """Return an exception's first line, for a sentence."""
    if isinstance(error, RecursionError):
        return TOO_DEEP
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


TOO_DEEP = f"more than {MOST_DEPTH} lists and objects within each other"


def _checked_size(path: Path, found: os.stat_result) -> int:
    if not stat.S_ISREG(found.st_mode):
        kind = next((name for is_kind, name in KINDS if is_kind(found.st_mode)), "a device")
        raise InputError(f"{path} is {kind}, not a file: give a file")
    return found.st_size


class _Beyond(msgspec.Struct, frozen=True):
    """Stands for a number that is too large, until its key is known."""

    reason: str


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MOST_DEPTH + 1):
        level = [inner for holder in level for inner in _inside(holder) if isinstance(inner, dict | list)]
        if not level:
            return
    raise ValueError(TOO_DEEP)


def _inside(value: Any) -> Any:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _check_values(document: dict[str, Any]) -> None:
    """Check the values of TOML like those of JSON, and refuse dates, which no file of ours takes."""
    _check_depth(document)
    for path, value in _values(document):
        if isinstance(value, int) and value.bit_length() > 64:
            raise ValueError(f"{_place(path)} is an integer of more than 64 bits")
        if isinstance(value, float) and math.isfinite(value) and abs(value) > MOST_NUMBER:
            raise ValueError(f"{_place(path)} is the number {value:g}, beyond {MOST_NUMBER:g}")
        if not isinstance(value, str | int | float | dict | list):
            raise ValueError(f"{_place(path)} is {value}, a date or a time, and none is expected")


def _values(holder: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Yield every nested value with the keys that lead to it."""
    pairs: Any = ()
    if isinstance(holder, dict):
        pairs = holder.items()
    elif isinstance(holder, list):
        pairs = enumerate(holder)
    elif not path:
        yield path, holder
    for key, value in pairs:
        yield (*path, key), value
        yield from _values(value, (*path, key))


def _place(path: tuple[str | int, ...]) -> str:
    """Return keys as `points[3].seconds`, cut if they are long."""
    keys = [f"[{key}]" if isinstance(key, int) else f".{_cut(key)}" for key in path]
    return _cut("".join(keys).lstrip("."), MOST_PATH) or "it"


def _cut(text: str, most: int = 80) -> str:
    return text if len(text) <= most else f"{text[: most // 2]}...{text[-most // 2 :]}"


def _is_text(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True
