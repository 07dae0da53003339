"""Every renderer over small recordings that are the same everywhere, against one kept file each.

After a change that is meant: RENEW_GOLDEN=1 python -m pytest tests/report/renderers/test_golden.py, which
fails for each file that it renews; then read the diff.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pytest
from click.testing import CliRunner

import engine_probe
from engine_probe.cli import cli
from engine_probe.recordings.curve import curves
from engine_probe.report.renderers.html_document import html_page
from engine_probe.report.sweep_report import sweep_document
from tests.support.recordings import golden
from tests.support.recordings.golden import RENEW, hold, laid_out, outline, write_recordings

COMPARE = ("compare", "wide", "narrow", "--fail-if", "output_tokens_per_s < -5%")
REPORTS = (("report", "run"), ("report", "sweep"), COMPARE)
JUDGED = ("--goodput", "ttft:60", "--cost-per-hour", "3.6EUR", "--price-per-million", "1EUR")
MOST_LINES = 25


@pytest.fixture(autouse=True)
def _in_their_folder(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths are a part of what is shown."""
    monkeypatch.chdir(recorded)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("recordings")
    write_recordings(place)
    return place


def shown(*words: str) -> str:
    done = CliRunner().invoke(cli, [*words])
    assert done.exit_code == (4 if words[0] == "compare" else 0), done.exception
    return done.stdout


def one_after_the_other(reports: Iterable[tuple[str, ...]]) -> str:
    return "".join(f"$ engine_probe {' '.join(words)}\n{shown(*words)}\n" for words in reports)


def test_a_renewed_file_fails_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a run in whose environment the variable was left would test nothing, and pass."""
    monkeypatch.setattr(golden, "FOLDER", tmp_path)
    monkeypatch.setenv(RENEW, "1")
    with pytest.raises(pytest.fail.Exception, match=r"renewed terminal\.txt"):
        hold("terminal.txt", "new")
    hold("terminal.txt", "new")


@pytest.mark.lengthy
def test_terminal() -> None:
    hold("terminal.txt", one_after_the_other(REPORTS))


@pytest.mark.lengthy
def test_terminal_with_verbose() -> None:
    """The sweep is held against limits and prices, too."""
    reports = (*REPORTS, (*REPORTS[1], *JUDGED))
    hold("verbose.txt", one_after_the_other((*words, "--verbose") for words in reports))


@pytest.mark.lengthy
@pytest.mark.parametrize("words", REPORTS, ids=" ".join)
def test_what_a_terminal_shows_by_default_fits_a_screen(words: tuple[str, ...]) -> None:
    assert len(shown(*words).splitlines()) <= MOST_LINES


@pytest.mark.lengthy
def test_html_document() -> None:
    """The sweep without its single points, whose sections are those of the run."""
    swept = engine_probe.load_sweep("sweep")
    pages = [shown(*words, "--html", "-") for words in (REPORTS[0], COMPARE)]
    pages.insert(1, html_page(sweep_document(swept, curves(swept.points))))
    hold("html_document.txt", "".join(map(outline, pages)))


@pytest.mark.lengthy
def test_markdown() -> None:
    run, sweep = (shown(*words, "--markdown", "-") for words in REPORTS[:2])
    hold("markdown.md", "\n".join((run, sweep, shown(*COMPARE, "--format", "markdown"))))


def test_notebook() -> None:
    run, swept = engine_probe.load("run"), engine_probe.load_sweep("sweep")
    cells = (run, run.summary(), swept, swept.points[0])
    hold("notebook.txt", "".join(outline(cell._repr_html_()) for cell in cells))


@pytest.mark.lengthy
def test_json() -> None:
    """Of the sweep the first level and the first point."""
    run, sweep = (json.loads(shown(*words, "--json", "-")) for words in REPORTS[:2])
    (curve,) = sweep["curves"]
    del sweep["metrics"], sweep["points"][1:], curve["levels"][1:]
    compared = json.loads(shown(*COMPARE, "--format", "json"))
    hold("json.txt", "\n".join(map(laid_out, (run, sweep, compared))) + "\n")


@pytest.mark.lengthy
def test_junit() -> None:
    hold("junit.xml", shown(*COMPARE, "--format", "junit"))
