"""The chart of engines that measure together, in a real headless Chromium."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from engine_probe.commands.report import command
from tests.support.sweeps.cluster_sweeps import write_cluster_sweep

RINGS = """place => {
  const drawn = () => place.querySelector("canvas").toDataURL().length;
  const before = drawn();
  place.plot.setSeries(1, { show: false });
  return new Promise((done) => setTimeout(() => done(before - drawn()), 100));
}"""


@pytest.mark.lengthy
def test_repeats_without_an_interval_are_drawn_as_rings(window: Any, tmp_path: Path) -> None:
    """Each engine's rate has repeats and no interval; a chart with rings is a larger picture."""
    sizes, told = [], []
    for repeats in (1, 3):
        folder = tmp_path / str(repeats)
        folder.mkdir()
        write_cluster_sweep(folder, {2: [1.0, 1.1]}, repeats=repeats, noise=0.2)
        done = CliRunner().invoke(command, [str(folder), "--html", str(folder / "page.html")])
        assert done.exit_code == 0, done.output
        sheet = window.new_page(900)
        sheet.goto((folder / "page.html").as_uri())
        heading = sheet.get_by_role("heading", name="Throughput of each engine", exact=True)
        place = sheet.locator("figure", has=heading)
        sizes.append(place.locator(".plot").evaluate(RINGS))
        place.locator(".u-over").hover()
        told.append(place.locator(".u-value").nth(1).inner_text())
        sheet.close()
    assert sizes[1] > sizes[0]
    assert [len(each.split(" / ")) for each in told] == [1, 3]
