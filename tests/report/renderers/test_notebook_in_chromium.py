"""What a notebook shows of a run and a sweep, in a real headless Chromium: values under the mouse, without a script."""

from __future__ import annotations

from typing import Any

import pytest

import engine_probe
from tests.support.recordings.run_folders import ran, write_run, write_sweep

pytestmark = pytest.mark.lengthy


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    place = tmp_path_factory.mktemp("shown")
    sweeps = [write_sweep(place / name, (1, 2, 4, 8, 12, 20), blocks=blocks) for name, blocks in (("a", 60), ("b", 30))]
    return {
        "run": engine_probe.load(write_run(place / "run", ran(20)))._repr_html_(),
        "sweep": engine_probe.load_sweep(sweeps[0])._repr_html_(),
        "comparison": engine_probe.compare(*sweeps)._repr_html_(),
    }


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("run", ("seconds ", "running ", "waiting ", "KV blocks in use ")),
        ("sweep", ("concurrent requests ", "tokens/s")),
        ("comparison", ("concurrent requests ", ": a ", ", b ")),
    ],
)
def test_the_values_under_the_mouse_are_told(
    browser: Any, shown: dict[str, str], name: str, words: tuple[str, ...]
) -> None:
    context = browser.new_context(java_script_enabled=False)  # as in a notebook that is not trusted
    page = context.new_page()
    page.set_content(shown[name])
    chart = page.locator("svg").first
    told = chart.locator("g.at text")
    assert told.count() > 3
    visible = [number for number in range(told.count()) if told.nth(number).is_visible()]
    assert visible == []
    chart.locator("g.at rect").nth(2).hover()
    visible = [number for number in range(told.count()) if told.nth(number).is_visible()]
    assert visible == [2]
    said = told.nth(2).text_content()
    assert [each for each in words if each not in said] == []
    context.close()
