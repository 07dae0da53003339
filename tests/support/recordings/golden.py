"""Small recordings that are the same everywhere, and the text of pages, to be held against kept files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.support.recordings.hardware_facts import POWER_CAP, gpu_samples, hardware, memory
from tests.support.recordings.run_folders import facts, ran, write_points, write_run, write_sweep
from tests.support.recordings.small_tables import table

RENEW = "RENEW_GOLDEN"
FOLDER = Path(__file__).parents[2] / "report" / "renderers" / "golden"
WALL_NS = 1_790_000_000 * 10**9
RECORDED = {"monotonic_ns": 10**9, "wall": "2026-09-21T13:33:20.000000+00:00"}
VOID = {"br", "hr", "meta", "input", "img", "link"}
UNSEEN = {"script", "style"}
CELLS = {"td", "th"}
DRAWN = "svg"  # of a drawing only what it says to screen readers


def write_recordings(place: Path) -> None:
    """Write a run on two GPUs, a sweep with a knee, and two sweeps with repeats whose KV pools differ."""
    capped = gpu_samples(0, throttle_reasons=[0, POWER_CAP, POWER_CAP, 0], temperature_c=[60, 70, 81, 70])
    well = gpu_samples(1, throttle_reasons=[0, 0], performance_state=[0, 0], ecc_errors=[2, 3])
    samples = sorted((*capped, *well), key=lambda row: int(row["time_ns"]))
    write_run(place / "run", ran(20) | {"telemetry": table("telemetry", samples)}, hardware(memory()))
    write_sweep(place / "sweep", (1, 2, 4, 8, 14))
    for name, blocks in (("wide", 90), ("narrow", 40)):
        write_repeated(place / name, blocks)
    for file in place.rglob("run.json"):
        document = json.loads(file.read_text())
        repeat = file.parent.name.partition("-")[2]  # of a sweep in rounds
        document["clock"] |= RECORDED | {"wall_ns": WALL_NS + int(repeat or 0) * 10**9}
        document["process"]["host"] = "host"
        file.write_text(json.dumps(document))


def write_repeated(folder: Path, blocks: int, levels: tuple[int, ...] = (4, 12, 20), prompt: int = 48) -> Path:
    """Write a sweep with three repeats of each level, whose prompts differ by a token."""
    points = []
    for repeat in range(3):
        for level in levels:
            name = f"p{level}-{repeat}"
            write_run(folder / "points" / name, ran(level, prompt=prompt + repeat, blocks=blocks), facts(blocks))
            work = {"concurrency": level, "input_len": 48, "output_len": 40}
            points.append({"id": name, "point": {"workload": work, "repeat": repeat}, "status": "complete"})
    return write_points(folder, points)


def hold(name: str, text: str) -> None:
    """Compare a text with the kept one. With RENEW_GOLDEN=1 in the environment keep it, and fail if it is another."""
    file = FOLDER / name
    kept = file.read_text(encoding="utf-8") if file.exists() else ""
    if os.environ.get(RENEW) and text != kept:
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
        pytest.fail(f"renewed {file.name}: read its diff, and run again without {RENEW}", pytrace=False)
    command = f"{RENEW}=1 python -m pytest tests/report/renderers/test_golden.py"
    assert text == kept, f"{file.name} is not what is rendered now; if that is right, renew it: {command}"


def laid_out(value: Any, indent: str = "") -> str:
    """Return JSON with a line for each innermost list or object; floats have six digits, the rest is the machine's."""
    if isinstance(value, float):
        return f"{value:.6g}"
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    items = [f"{json.dumps(name)}: " for name in value] if isinstance(value, dict) else [""] * len(inner)
    ends = "{}" if isinstance(value, dict) else "[]"
    if not inner:
        return json.dumps(value, ensure_ascii=False)
    if any(isinstance(each, (dict, list)) for each in inner):
        lines = (f"{indent} {name}{laid_out(each, indent + ' ')}" for name, each in zip(items, inner, strict=True))
        return f"{ends[0]}\n" + ",\n".join(lines) + f"\n{indent}{ends[1]}"
    return ends[0] + ", ".join(f"{name}{laid_out(each)}" for name, each in zip(items, inner, strict=True)) + ends[1]


class Outline(HTMLParser):
    """The elements of a page with their classes and words, indented as they stand in each other.

    A row of a table is one line, and so is an element that holds nothing but words.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if not self._within(*UNSEEN, DRAWN) and tag not in UNSEEN and not (self._within("tr") or tag in CELLS):
            self.lines.append("  " * len(self._open) + " ".join([tag, *described(dict(attrs))]))
        if tag in CELLS:
            self.lines[-1] += " |"
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        words = " ".join(data.split())
        if words and not self._within(*UNSEEN, DRAWN):
            self.lines[-1] += f" {words}"

    def _within(self, *tags: str) -> bool:
        return not {*tags}.isdisjoint(self._open)


def described(attributes: dict[str, str | None]) -> Iterator[str]:
    if attributes.get("class"):
        yield f".{'.'.join(str(attributes['class']).split())}"
    if attributes.get("aria-label"):
        yield f"({attributes['aria-label']})"


def outline(page: str) -> str:
    """Return the structure and the visible text of a page, without scripts, styles and drawings."""
    parser = Outline()
    parser.feed(page)
    return "\n".join(line.rstrip() for line in parser.lines) + "\n"
