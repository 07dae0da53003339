"""Seeded mutations of the files that engine_probe opens: of bytes, JSON, lines of text, Arrow tables and kind."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa

from engine_probe.record.arrow_files import CHECKSUM_KEY, WRITE_OPTIONS, batch_checksum, file_crc32

Mutation = Callable[[Path, Random], None]

RAW = "raw token:"  # of a value that `json` would not write
JUNK: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 0.5, -0.0, 2**31, 2**63 - 1, 2**63, 2**64, -(2**63) - 1, 1e99, 1e-99),
    *(f"{RAW}{token}" for token in ("1" + "0" * 400, "1e300", "1e999", "-1e300", "NaN", "Infinity", "[" * 5_000)),
    *(
        "",
        "x",
        "\ud800",
        "\0",
        "\u2028",
        "[/b]",
        "[bold]",
        "\x1b[2J",
        "=1+1",
        "../../outside",
        "/dev/zero",
        "x" * 150_000,
    ),
    *("1970-01-01T00:00:00", "complete", "recording", [], {}, [[]], [{}], {"": {}}, [None], ["x", 1]),
)
TOKENS = (
    *(
        "0",
        "-1",
        "1e300",
        "1" + "0" * 400,
        "nan",
        "inf",
        "-inf",
        '"x"',
        '""',
        "[]",
        "{}",
        "true",
        "1979-05-27",
        "[" * 3_000,
    ),
    *(
        '"\\u001b[2J"',
        '"[/b]"',
        '"../../outside"',
        "1.5",
        "1e-300",
        "9223372036854775807",
        "'",
        '"""',
        "=",
        "x" * 150_000,
    ),
)

NUMBERS = (
    "0",
    "1",
    "2",
    "3",
    "7",
    "64",
    "1000",
    "1000000",
    "16777216",
    "2147483648",
    "9223372036854775807",
    "-1",
    "-7",
)
FRACTIONS = ("0.0", "0.1", "0.99", "1.0", "3.5", "1e9", "1e18", "1e99", "1e-9", "1e-99", "-0.0", "-1.5", "inf", "nan")


def put(path: Path, content: bytes) -> None:
    """Replace a file; some file systems wait for the disk where an old one is written over."""
    path.unlink()
    path.write_bytes(content)


# ---- bytes ----------------------------------------------------------------------------------------------


def flip_bits(path: Path, chance: Random) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(chance.choice((1, 1, 3, 10))):
        if content:
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    put(path, bytes(content))


def patch_bytes(path: Path, chance: Random) -> None:
    """Write a number over some bytes: offsets and lengths are what stands there."""
    content = path.read_bytes()
    size = chance.choice((1, 2, 4, 8))
    value = chance.choice(
        (0, 1, 2 ** (8 * size - 1) - 1, 2 ** (8 * size) - 1, 2 ** (8 * size - 1), chance.randrange(256))
    )
    at = chance.randrange(len(content) + 1)
    put(path, content[:at] + value.to_bytes(size, "little") + content[at + size :])


def cut(path: Path, chance: Random) -> None:
    content = path.read_bytes()
    put(path, content[: chance.randrange(len(content) + 1)])


def repeat_a_part(path: Path, chance: Random) -> None:
    content = path.read_bytes()
    begin, end = sorted(chance.randrange(len(content) + 1) for _ in range(2))
    put(path, content[:end] + content[begin:end] * chance.choice((1, 2, 50)) + content[end:])


def leave_out_a_part(path: Path, chance: Random) -> None:
    content = path.read_bytes()
    begin, end = sorted(chance.randrange(len(content) + 1) for _ in range(2))
    put(path, content[:begin] + content[end:])


def insert_bytes(path: Path, chance: Random) -> None:
    content = path.read_bytes()
    at = chance.randrange(len(content) + 1)
    junk = chance.choice(
        (b"\xff", b"\0", "\u2028".encode(), b"\x1b[2J", b"\r", b"[/b]", b'"', b"\xed\xa0\x80", b"\xef\xbb\xbf")
    )
    put(path, content[:at] + junk * chance.choice((1, 1, 100)) + content[at:])


BYTES: tuple[Mutation, ...] = (flip_bits, patch_bytes, cut, repeat_a_part, leave_out_a_part, insert_bytes)


# ---- JSON, and lines of it ------------------------------------------------------------------------------


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every container with each of its keys, or indices."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from places(value[key])


def junk(chance: Random) -> Any:
    return deepcopy(chance.choice(JUNK))


def change_values(document: Any, chance: Random) -> Any:
    for _ in range(chance.choice((1, 1, 1, 2, 5))):
        found = list(places(document))
        if not found:
            return junk(chance)
        holder, key = chance.choice(found)
        match chance.randrange(8):
            case 0:
                del holder[key]
            case 1 if isinstance(holder, dict):
                holder[chance.choice(("", "x" * 1_000, "\ud800", "[/b]", "\x1b[2J", "kind", "id"))] = holder.pop(key)
            case 2:
                other, its = chance.choice(found)
                if its in other if isinstance(other, dict) else its < len(other):
                    holder[key] = json.loads(json.dumps(other[its]))
            case 3 | 4 | 5:
                holder[key] = other_of_its_type(holder[key], chance)
            case _:
                holder[key] = junk(chance)
    return document


def other_of_its_type(value: Any, chance: Random) -> Any:
    """Return what passes a check of types, and perhaps no other."""
    alike = [each for each in deepcopy(JUNK) if type(each) is type(value) and not str(each).startswith(RAW)]
    if isinstance(value, int | float) and not isinstance(value, bool):
        alike += [value + 1, value - 1, value * 1_000, -value, type(value)(2**40), type(value)(7)]
    return chance.choice(alike) if alike else junk(chance)


def text_of(document: Any) -> str:
    text = json.dumps(document)
    for token in JUNK:
        if isinstance(token, str) and token.startswith(RAW):
            text = text.replace(json.dumps(token), token.removeprefix(RAW))
    return text


def change_json(path: Path, chance: Random) -> None:
    put(path, text_of(change_values(json.loads(path.read_bytes()), chance)).encode())


def change_json_line(path: Path, chance: Random) -> None:
    lines = path.read_text().splitlines()
    at = chance.randrange(len(lines))
    lines[at] = text_of(change_values(json.loads(lines[at]), chance))
    put(path, "\n".join(lines).encode())


JSON: tuple[Mutation, ...] = (change_json,) * 6 + (flip_bits, cut, insert_bytes, repeat_a_part)
JSON_LINES: tuple[Mutation, ...] = (change_json_line,) * 6 + (flip_bits, cut, insert_bytes, repeat_a_part)


# ---- TOML and CSV ---------------------------------------------------------------------------------------


def change_toml_value(path: Path, chance: Random) -> None:
    lines = path.read_text().splitlines()
    with_value = [number for number, line in enumerate(lines) if " = " in line]
    for _ in range(chance.choice((1, 1, 2))):
        at = chance.choice(with_value)
        name, _, _ = lines[at].partition(" = ")
        lines[at] = f"{chance.choice((name, name, name, 'x', 'kind', 'engine.model'))} = {chance.choice(TOKENS)}"
    put(path, "\n".join(lines).encode())


def change_a_number(path: Path, chance: Random) -> None:
    """Leave everything in its form and its type."""
    text = path.read_text()
    found = chance.choice(list(re.finditer(r"(?<![\w.])-?\d+(\.\d+)?(?![\w.])", text)))
    other = chance.choice(FRACTIONS if found[1] else NUMBERS)
    put(path, f"{text[: found.start()]}{other}{text[found.end() :]}".encode())


def move_a_line(path: Path, chance: Random) -> None:
    lines = path.read_text().splitlines()
    line = lines.pop(chance.randrange(len(lines)))
    if chance.random() < 0.7:
        lines.insert(chance.randrange(len(lines) + 1), line)
    put(path, "\n".join(lines).encode())


def change_csv_field(path: Path, chance: Random) -> None:
    lines = path.read_text().splitlines()
    at = chance.randrange(len(lines))
    fields = lines[at].split(",")
    fields[chance.randrange(len(fields))] = chance.choice(TOKENS)
    if chance.random() < 0.2:
        fields.pop(chance.randrange(len(fields)))
    lines[at] = ",".join(fields)
    put(path, "\n".join(lines).encode())


TOML: tuple[Mutation, ...] = (
    (change_a_number,) * 6 + (change_toml_value,) * 4 + (move_a_line, flip_bits, cut, insert_bytes)
)
CSV: tuple[Mutation, ...] = (
    (change_a_number,) * 4 + (change_csv_field,) * 4 + (move_a_line, flip_bits, cut, insert_bytes)
)


# ---- Arrow: whatever is changed, every checksum is right ------------------------------------------------


def promise(path: Path) -> None:
    """Let the recording's `run.json` promise the file as it is now."""
    facts = json.loads((path.parent / "run.json").read_text())
    if told := facts.get("tables", {}).get(path.stem):
        told |= {"bytes": path.stat().st_size, "crc32": file_crc32(path)}
        put(path.parent / "run.json", json.dumps(facts).encode())


def promised(mutation: Mutation) -> Mutation:
    def mutate(path: Path, chance: Random) -> None:
        mutation(path, chance)
        promise(path)

    mutate.__name__ = f"{mutation.__name__}_with_a_right_checksum"
    return mutate


def extreme(kind: pa.DataType, chance: Random) -> Any:
    if pa.types.is_list(kind):
        return [extreme(kind.value_type, chance) for _ in range(chance.choice((0, 1, 3)))]
    if pa.types.is_string(kind):
        return chance.choice(("", "r0", "=1+1", "[/b]", "\x1b[2J", "x" * 10_000, "\u202e"))
    if pa.types.is_floating(kind):
        return chance.choice((0.0, -1.0, 1e38, float("inf"), float("nan")))
    bits = kind.bit_width
    return chance.choice((0, 1, -1, 2 ** (bits - 1) - 1, -(2 ** (bits - 1)), 2**20, chance.randrange(100)))


def change_cells(rows: pa.Table, chance: Random) -> pa.Table:
    for _ in range(chance.choice((1, 1, 2, 5))):
        if not rows.num_rows:
            return rows
        index = chance.randrange(rows.num_columns)
        field = rows.schema.field(index)
        values = rows[index].to_pylist()
        for _ in range(chance.choice((1, 1, len(values)))):
            null = field.nullable and chance.random() < 0.3
            values[chance.randrange(len(values))] = None if null else extreme(field.type, chance)
        rows = rows.set_column(index, field, pa.array(values, field.type))
    return rows


def change_table(path: Path, chance: Random) -> None:
    with pa.OSFile(str(path)) as source:
        rows = change_cells(pa.ipc.open_file(source).read_all(), chance)
    path.unlink()
    with pa.ipc.new_file(path, rows.schema, options=WRITE_OPTIONS) as sink:
        sink.write_table(rows)
    promise(path)


def change_stream(path: Path, chance: Random) -> None:
    with pa.OSFile(str(path)) as source:
        rows = change_cells(pa.ipc.open_stream(source).read_all(), chance)
    path.unlink()
    with pa.ipc.new_stream(path, rows.schema, options=WRITE_OPTIONS) as sink:
        for batch in rows.to_batches(max_chunksize=10):
            sink.write_batch(batch, custom_metadata={CHECKSUM_KEY: batch_checksum(batch)})


TABLE: tuple[Mutation, ...] = (
    (change_table,) * 5 + tuple(map(promised, (flip_bits, patch_bytes, patch_bytes, cut))) + (cut,)
)
STREAM: tuple[Mutation, ...] = (change_stream,) * 5 + BYTES


# ---- what is no file ------------------------------------------------------------------------------------


def become_a_pipe(path: Path, _: Random) -> None:
    path.unlink()
    os.mkfifo(path)


def become_a_device(path: Path, chance: Random) -> None:
    path.unlink()
    path.symlink_to(chance.choice(("/dev/zero", "/dev/urandom", "/dev/null")))


def become_a_folder(path: Path, _: Random) -> None:
    path.unlink()
    path.mkdir()


def become_a_link_to_itself(path: Path, _: Random) -> None:
    path.unlink()
    path.symlink_to(path.name)


def become_empty(path: Path, _: Random) -> None:
    put(path, b"")


def become_huge(path: Path, _: Random) -> None:
    """A hole of a terabyte, which takes no place on a disk."""
    put(path, b"")
    os.truncate(path, 2**40)


KINDS: tuple[Mutation, ...] = (
    become_a_pipe, become_a_device, become_a_folder, become_a_link_to_itself, become_empty, become_huge,
)  # fmt: skip
