"""The schema of sweep files, for editors and as a page of docs: up to date, whole, and as strict as the program."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from click.testing import CliRunner

from engine_probe.commands.sweep.cli import command
from engine_probe.sweep.definition.file_schema import Key, json_schema, tables
from engine_probe.sweep.definition.loader import read_sweep, shipped_names, shipped_sweeps
from engine_probe.sweep.definition.sweep_file import SweepFile, points
from tools.reference_pages import sweep_reference

VALID: dict[str, Any] = {
    "question": "How many?",
    "engine": {"model": "tiny"},
    "workload": {"input_len": 8, "output_len": 8},
    "axes": {"workload.concurrency": [1, 2]},
}
KEYS = [(table, key) for table in tables() for key in table.keys]


def refusals(document: dict[str, Any]) -> list[str]:
    return [error.message for error in jsonschema.Draft202012Validator(json_schema()).iter_errors(document)]


def test_the_page_and_the_schema_are_up_to_date() -> None:
    """`make docs` writes both."""
    assert sweep_reference.PAGE.read_text(encoding="utf-8") == sweep_reference.page()
    assert sweep_reference.SCHEMA.read_text(encoding="utf-8") == sweep_reference.schema_text()


def test_the_file_that_the_page_shows_is_a_sweep(tmp_path: Path) -> None:
    shown = sweep_reference.page().partition("```toml\n")[2].partition("```")[0]
    path = tmp_path / "shown.toml"
    path.write_text(shown)
    assert [point.workload.concurrency for point in points(read_sweep(str(path)))] == [1, 4, 16]


def test_it_is_a_json_schema_and_is_printed() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())
    assert json.loads(CliRunner().invoke(command, ["--json-schema"]).stdout) == json_schema()


@pytest.mark.parametrize("name", shipped_names())
def test_every_shipped_sweep_is_valid(name: str) -> None:
    text = shipped_sweeps()[name].read_text(encoding="utf-8")
    assert refusals(tomllib.loads(text)) == []


@pytest.mark.parametrize(
    "change",
    [
        {"repeat": 2},
        {"repeats": 0},
        {"engine": {}},
        {"workload": {"input_length": 8}},
        {"workload": {"prompts": {"kind": "random", "input_len": 8, "turns": 2}}},
        {"workload": {"arrivals": {"kind": "open_lop", "request_rate": 1.0}}},
        {"stop": {"steady": {"within": 2.0}}},
        {"axes": {"workload.concurrency": {"from": 1, "to": 8, "steps": 1}}},
        {"axes": {"workload.concurrency": 3}},
    ],
)
def test_what_the_program_refuses_the_schema_refuses(change: dict[str, Any]) -> None:
    assert refusals(VALID) == []
    assert refusals({**VALID, **change})
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({**VALID, **change}, SweepFile)


def test_axes_need_no_quotation_marks() -> None:
    assert refusals({**VALID, "axes": {"workload": {"input_len": {"from": 1, "to": 9, "step": 2}}}}) == []


@pytest.mark.parametrize(("place", "key"), [pytest.param(t.place, k, id=f"{t.place}.{k.name}") for t, k in KEYS])
def test_every_key_has_a_meaning_and_values_that_toml_reads(place: str, key: Key) -> None:
    assert key.text.endswith("."), key.name
    assert key.table or key.example is not None
    for value in filter(None, (key.default, key.example)):
        tomllib.loads(f"value = {value}")
