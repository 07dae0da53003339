"""A report file from elsewhere: a missing or impossible value is one sentence, never a page."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from engine_probe.commands import report as report_command
from kernels_bench.errors import InputError
from kernels_bench.output.json_file import read_any
from tests.support.recordings.hardware_reports import box

Change = Callable[[dict[str, Any]], object]


def figure(document: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(
        row["figure"] for row in document["results"] if (row["figure"] or {}).get("name") == name
    )
    return found


CHANGES: dict[str, tuple[Change, str]] = {
    "no rounds": (lambda d: figure(d, "copy")["samples"].update(rounds_ns=[]), "length >= 1"),
    "an empty round": (lambda d: figure(d, "copy")["samples"].update(rounds_ns=[[]]), "length >= 1"),
    "a median of zero": (lambda d: figure(d, "copy")["samples"].update(median_ns=0), "> 0"),
    "a negative rate": (lambda d: figure(d, "copy").update(value=-1.0), "> 0"),
    "a rate of 1e300": (lambda d: figure(d, "copy").update(value=1e300), "<= 1"),
    "a copy of no size": (lambda d: figure(d, "copy")["trials"][0].update(at={}), "None for bytes, expected a whole"),
    "a product of no shape": (lambda d: figure(d, "bf16 best shape")["trials"][0].update(at={"m": 1}), "None for n"),
    "decoding of no batch": (lambda d: figure(d, "bf16 decode M=1").update(detail={}), "None for m"),
    "a buffer in words": (lambda d: figure(d, "copy").update(detail={"buffer_bytes": "x"}), "'x' for buffer_bytes"),
    "memory of 400 digits": (
        lambda d: d["devices"][0]["device"].update(memory_bytes=10**400),
        "devices[0].device.memory_bytes",
    ),
    "a temperature of 2**70": (lambda d: d["devices"][0]["curve"][0].update(temperature_c=2**70), "int"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_missing_and_impossible_figures_are_refused(tmp_path: Path, name: str) -> None:
    change, sentence = CHANGES[name]
    document = json.loads(msgspec.json.encode(box(2)))
    change(document)
    path = tmp_path / "report.json"
    path.write_text(json.dumps(document))
    done = CliRunner().invoke(report_command.command, [str(path), "--html", str(tmp_path / "page.html")])
    assert getattr(done.exception, "exit_code", None) == 2, done.exception
    assert sentence in str(done.exception)
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b'{"schema":"kernels_bench.fleet/1","nodes":' + b"[" * 100_000, b"\xff"]
)
def test_deep_or_broken_json_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "report.json").write_bytes(content)
    with pytest.raises(InputError, match="is not a report of kernels_bench"):
        read_any(tmp_path / "report.json")


def test_pipes_and_devices_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(InputError, match="a device or a pipe"):
            read_any(path)


def test_a_sentence_spells_control_characters_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "report.json").write_text('{"schema": "kernels_bench/1", "a\x7f\\u001b[2J": 1}')
    with pytest.raises(InputError) as refused:
        read_any(tmp_path / "report.json")
    refused.value.show()
    assert "a\\x7f\\x1b[2J" in capsys.readouterr().err


def test_a_line_break_in_a_report_makes_no_second_line(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text('{"schema": "kernels_bench/1", "a\\nb": 1}')
    done = CliRunner().invoke(report_command.command, [str(tmp_path / "report.json")])
    assert "a\\nb" in str(done.exception)
    assert "\n" not in str(done.exception)


def test_hostile_names_are_only_text(tmp_path: Path) -> None:
    text = msgspec.json.encode(box(4)).decode().replace("NVIDIA H200", "[/b]\\u001b[2Jx").replace("NVLink", "[/b]way")
    (tmp_path / "report.json").write_text(text)
    done = CliRunner().invoke(report_command.command, [str(tmp_path / "report.json")])
    assert done.exit_code == 1, done.exception
    assert "[/b]\\x1b[2Jx" in done.output
    assert "\x1b[2J" not in done.output
