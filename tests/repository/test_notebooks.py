"""The notebooks: stripped in git, short cells, the public API alone; those that need no engine run here.

`tests/vllm/probe/test_notebook_runs.py` runs them on recordings of real engines.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kernels_bench.output.json_file import write_report
from tests.support.answers.simulated_answers import normal
from tests.support.processes.notebooks import NOTEBOOKS as FOLDER
from tests.support.processes.notebooks import (
    Execute,
    pictures,
    said,
    shared_kernel,
    write_elsewhere,
    write_pools,
    write_ranks,
)
from tests.support.recordings.hardware_facts import hardware, memory
from tests.support.recordings.hardware_reports import box
from tests.support.recordings.run_folders import ran, write_run, write_sweep
from tests.support.sweeps.answered_sweeps import Answered, cut, write_answered_sweep

nbformat = pytest.importorskip("nbformat")

NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
MOST_LINES = 20  # of one cell: a longer one belongs into the package
MAY_IMPORT = {"json", "os", "pathlib", "matplotlib", "numpy", "pandas", "engine_probe"}


def code_cells(path: Path) -> list[Any]:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
class TestEveryNotebook:
    def test_outputs_stay_out_of_git(self, path: Path) -> None:
        for cell in code_cells(path):
            assert cell.outputs == []
            assert cell.execution_count is None

    def test_it_opens_with_its_question(self, path: Path) -> None:
        first = nbformat.read(path, as_version=4).cells[0]
        assert first.cell_type == "markdown"
        assert first.source.splitlines()[0].startswith("# ")
        assert first.source.splitlines()[0].endswith("?")

    def test_cells_are_short_and_define_nothing_long(self, path: Path) -> None:
        for cell in code_cells(path):
            assert len(cell.source.splitlines()) <= MOST_LINES

    def test_it_takes_only_the_public_api(self, path: Path) -> None:
        import engine_probe

        for node in (node for cell in code_cells(path) for node in ast.walk(ast.parse(cell.source))):
            if isinstance(node, ast.Import):
                assert {alias.name.partition(".")[0] for alias in node.names} <= MAY_IMPORT
                assert not [alias.name for alias in node.names if alias.name.startswith("engine_probe.")]
            if isinstance(node, ast.ImportFrom):
                assert node.module in MAY_IMPORT
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "engine_probe":
                assert node.attr in engine_probe.__all__

    def test_it_ends_with_what_to_do(self, path: Path) -> None:
        assert nbformat.read(path, as_version=4).cells[-1].cell_type == "markdown"


def test_a_recording_is_named_for_each_by_make() -> None:
    """The folder that a notebook opens by default is one that `make recordings` makes."""
    (listed,) = re.findall(r"^RECORDINGS := (.*)$", (FOLDER.parent / "Makefile").read_text(), re.MULTILINE)
    opened = {
        name for path in NOTEBOOKS for name in re.findall(r'"\.\./runs/([\w.]+)', path.read_text().replace("\\", ""))
    }
    assert opened == set(listed.split())


@pytest.fixture(scope="module")
def executed() -> Iterator[Execute]:
    """Executes notebooks in one kernel: each kernel of its own imports pandas and matplotlib for seconds."""
    with shared_kernel() as execute:
        yield execute


@pytest.mark.lengthy
def test_price_of_a_preemption(executed: Execute, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """12 requests of 88 tokens take 6 blocks of 16 each: 72 hold them all, 30 do not."""
    monkeypatch.setenv("ENGINE_PROBE_POOL", str(write_pools(tmp_path, (30, 72))))
    outputs = executed("price_of_a_preemption")
    assert pictures(outputs) == 4
    assert "How many blocks?" in said(outputs)
    assert "<td>24.3</td>" in said(outputs)  # per cent of the tokens are computed twice


@pytest.mark.lengthy
def test_is_this_hardware_healthy(executed: Execute, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A box of two cards, and a run that carries the ceilings of one."""
    write_report(box(2), tmp_path / "hardware.json")
    monkeypatch.setenv("ENGINE_PROBE_HARDWARE", str(tmp_path / "hardware.json"))
    monkeypatch.setenv("ENGINE_PROBE_INSIDE", str(write_run(tmp_path / "run", ran(20), hardware(memory()))))
    outputs = executed("is_this_hardware_healthy")
    assert pictures(outputs) == 3
    assert "NVIDIA H200" in said(outputs)


@pytest.mark.lengthy
def test_from_concurrency_to_money(executed: Execute, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """451 tokens/s for 0.08 EUR an hour are 0.049 EUR for a million."""
    prices = (FOLDER / "prices.toml").read_text().replace("1.50", "0.03")
    (tmp_path / "prices.toml").write_text(prices)
    monkeypatch.setenv("ENGINE_PROBE_PRICES", str(tmp_path / "prices.toml"))
    monkeypatch.setenv("ENGINE_PROBE_SWEEP", str(write_sweep(tmp_path, (1, 2, 4, 8, 12, 20))))
    outputs = executed("from_concurrency_to_money")
    assert pictures(outputs) == 4
    assert "<td>0.049</td>" in said(outputs)


@pytest.mark.lengthy
def test_two_gpus_or_one(executed: Execute, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINE_PROBE_RANKS", str(write_ranks(tmp_path, (1, 4, 12))))
    outputs = executed("two_gpus_or_one")
    assert pictures(outputs) == 4
    assert "One rank or two?" in said(outputs)


@pytest.mark.lengthy
def test_does_the_answer_stay_right_under_load(
    executed: Execute, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 48 answers some change by noise, half of them under preemption, and one is cut short."""
    noise = normal(0.03)
    runs = [Answered(1), Answered(8, noise, damage=cut(5, 20)), Answered(32, noise, blocks=40)]
    monkeypatch.setenv("ENGINE_PROBE_INTEGRITY", str(write_answered_sweep(tmp_path, runs)))
    outputs = executed("does_the_answer_stay_right_under_load")
    assert pictures(outputs) == 3
    assert "near-tie" in said(outputs)
    assert "cut short" in said(outputs)


@pytest.mark.lengthy
def test_what_would_other_hardware_do(executed: Execute, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a twin that is exact, and a pool that takes six requests fewer."""
    write_elsewhere(tmp_path / "elsewhere")
    monkeypatch.setenv("ENGINE_PROBE_ELSEWHERE", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("ENGINE_PROBE_SWEEP", str(write_sweep(tmp_path / "real", (1, 4, 8, 12))))
    outputs = executed("what_would_other_hardware_do")
    assert pictures(outputs) == 4
    assert "<b>Predicted: " in said(outputs)
    assert "Within ttft:500 tpot:30 at 20 requests/s, the fewest GPUs: 1 x H100" in said(outputs)
