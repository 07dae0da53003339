"""A short campaign with a fixed seed: kills at random moments, hosts that lack something, a run of 20,000 steps."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hostile.page import put_section

ATTACKS = """
import json, sys
from pathlib import Path
from tests.hostile.conditions import CONDITIONS, hold
from tests.hostile.kills import KINDS, kill
from tests.hostile.long_run import run_long
from tests.hostile.subject import build
engine, place = build(), Path(sys.argv[1])
wrong = {}
for number in range(6):
    kind = KINDS[number % 3]
    wrong[f"kill {number} while {kind}"] = kill(engine, kind, number, 1, place / f"kill-{number}").wrong
for number, name in enumerate(CONDITIONS):
    wrong[name] = hold(engine, name, place / f"host-{number}").wrong
length = run_long(engine, 20_000, place / "long")
if length.status != "complete" or length.growth_bytes > 8 * 2**20:
    wrong["long run"] = length.lines()
(place / "wrong.json").write_text(json.dumps(wrong))
"""


@pytest.mark.slow
def test_nothing_is_lost_and_nobody_is_harmed(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-c", ATTACKS, str(tmp_path)], check=True, timeout=280, cwd=Path(__file__).parents[2]
    )
    found = json.loads((tmp_path / "wrong.json").read_text())
    assert {name: wrong for name, wrong in found.items() if wrong} == {}
    assert len(found) >= 45


def test_a_section_is_replaced_and_others_stay(tmp_path: Path) -> None:
    page = tmp_path / "results" / "hostile.md"
    for title, text in (("One", "old"), ("Two", "kept"), ("One", "new")):
        put_section(page, title, [text])
    assert "old" not in page.read_text()
    assert page.read_text().count("## One") == page.read_text().count("## Two") == 1
