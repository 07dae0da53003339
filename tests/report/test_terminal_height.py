"""The report of one run, one sweep or two that are compared fits a terminal, whatever was recorded."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.cells import cell_len
from rich.console import Console

from engine_probe.cli import cli
from engine_probe.commands.report.reports import ReportOptions, report_one
from engine_probe.report.brief_document import LINES
from engine_probe.report.renderers.terminal import print_document
from tests.support.recordings.golden import write_recordings, write_repeated
from tests.support.recordings.run_folders import facts, ran, write_run, write_sweep
from tests.support.recordings.stalled_run import stalled_run
from tests.support.sweeps.answered_sweeps import Answered, cut, failed, write_answered_sweep
from tests.support.sweeps.cluster_sweeps import write_cluster_sweep
from tests.support.sweeps.judged_sweeps import ENGLISH, write_judged_run, write_judged_sweep
from tests.support.sweeps.length_sweeps import write_length_sweep
from tests.support.sweeps.serving_sweeps import write_serving_sweep

LEVELS = tuple(range(1, 20, 2))
LIMITS = ("--goodput", "ttft:60", "tpot:4", "e2el:150")
PRICES = ("--cost-per-hour", "3.6EUR", "--price-per-million", "1EUR")
WRONG = {question.turn_id(turn): "No." for question, turn in ENGLISH[:6]}
SETTINGS = tuple({"max_num_seqs": seqs, "max_num_batched_tokens": budget} for seqs in (64, 128) for budget in (512, 99))
PUBLISHED = "".join(
    f'[[figures]]\nmodel = "tiny"\nwhat = "kv_capacity_tokens"\nvalue = {960 + number}\ndoubt = "{"Not said. " * 9}"\n'
    for number in range(12)
)


def write_run_at(place: Path) -> None:
    write_recordings(place.parent / "golden")
    (place.parent / "golden" / "run").rename(place)


def write_answers(place: Path) -> None:
    runs = [Answered(load, damage=cut(load, 3)) for load in (1, 4, 8)]
    write_answered_sweep(place, [Answered(1), *runs, Answered(16, damage=failed(1, 2), blocks=60)])


def write_reference(place: Path) -> None:
    write_sweep(place, LEVELS)
    table = f'title = "A paper"\nsource = "A page"\n{PUBLISHED}'
    place.with_suffix(".toml").write_text(table)


WRITERS: dict[str, Callable[[Path], object]] = {
    "a run on two GPUs": write_run_at,
    "a run with preemptions": lambda place: write_run(place, ran(30, blocks=40), facts(40)),
    "a run with stalls": stalled_run,
    "a run of questions": lambda place: write_judged_run(place, WRONG, late=2),
    "ten levels": lambda place: write_sweep(place, LEVELS),
    "twenty levels": lambda place: write_sweep(place, tuple(range(1, 21))),
    "a full pool and repeats": lambda place: write_repeated(place, 40, (1, 2, 4, 8, 12, 16, 20, 24)),
    "lengths": lambda place: write_length_sweep(place, (100, 400, 1600, 6400), (4, 8), repeats=2, attention_ms=1e-6),
    "lengths of four settings": lambda place: write_length_sweep(place, (100, 400), (4, 8), settings=SETTINGS),
    "questions": lambda place: write_judged_sweep(place, {1: {}, 4: {}, 8: WRONG}, late={8: 2}, blocks={8: 30}),
    "answers that change": write_answers,
    "engines side by side": lambda place: write_cluster_sweep(place, {1: [1.0], 2: [1.0, 1.3], 4: [1, 1, 1, 2]}, 2),
    "one GPU or two": lambda place: write_serving_sweep(place, repeats=2, noise=0.02),
    "published figures": write_reference,
}


@pytest.fixture(scope="module", params=WRITERS)
def recorded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("recorded") / "x"
    WRITERS[request.param](place)
    return place


def shown(*words: object) -> str:
    done = CliRunner().invoke(cli, [*map(str, words)], env={"COLUMNS": "100"}, catch_exceptions=False)
    assert done.exit_code in (0, 1)
    return done.stdout


def height(text: str, width: int = 100) -> int:
    lines = text.splitlines()
    assert len(lines) > 1
    return sum(max(1, -(-cell_len(line) // width)) for line in lines)


@pytest.mark.lengthy
def test_a_report_fits(recorded: Path) -> None:
    made = report_one(recorded, ReportOptions())
    for width in (100, 80):
        console = Console(file=StringIO(), width=width, color_system=None)
        print_document(made.document, console, more=made.more, lines=LINES)
        assert isinstance(console.file, StringIO)
        assert height(console.file.getvalue(), width) <= LINES


@pytest.mark.lengthy
def test_one_with_limits_prices_and_published_figures_fits(recorded: Path) -> None:
    table = recorded.with_suffix(".toml")
    reference = ("--reference", table) if table.exists() else ()
    assert height(shown("report", recorded, *LIMITS, *PRICES, *reference)) <= LINES


@pytest.mark.lengthy
def test_a_comparison_fits(tmp_path: Path) -> None:
    before, after = (write_repeated(tmp_path / name, blocks, LEVELS) for name, blocks in (("a", 90), ("b", 40)))
    assert height(shown("compare", before, after)) <= LINES
