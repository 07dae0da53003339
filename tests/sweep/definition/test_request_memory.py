"""A plan that memory cannot hold is refused before anything is started, by the size of a few of its requests."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
from click.testing import CliRunner

from engine_probe.commands.sweep.cli import command
from engine_probe.errors import InputError
from engine_probe.sweep.definition.request_memory import check_plans, plan_bytes
from engine_probe.sweep.definition.sweep_file import EngineSection, Point
from engine_probe.sweep.definition.workload_section import WorkloadSection
from engine_probe.workload.arrivals import Burst
from engine_probe.workload.dataset_file import Dataset
from engine_probe.workload.lengths import Uniform
from engine_probe.workload.prompts import Conversations
from engine_probe.workload.request_plan import make_plan

GIB = 1 << 30


def point(workload: WorkloadSection) -> Point:
    return Point(EngineSection("tiny"), workload, label="many")


@pytest.mark.parametrize(
    ("workload", "field"),
    [
        (WorkloadSection(8, 8, concurrency=99_999_999), "concurrency"),
        (WorkloadSection(8, 8, num_prompts=99_999_999, arrivals=Burst()), "num_prompts"),
        (WorkloadSection(Uniform(1000, 2000), 8, num_prompts=2_000_000), "num_prompts"),
        (WorkloadSection(None, 8, 500_000, prompts=Conversations(100, 64)), "concurrency"),
    ],
)
def test_more_than_memory_is_refused_with_the_number_to_lower(workload: WorkloadSection, field: str) -> None:
    with pytest.raises(InputError, match=rf"GiB of memory at a time, .* 16: ask for fewer \({field}\)"):
        check_plans([point(workload)], 16 * GIB)


def test_what_waits_for_its_turn_needs_the_disk() -> None:
    many = point(WorkloadSection(Uniform(1000, 2000), 8, concurrency=4, num_prompts=2_000_000))
    check_plans([many], 16 * GIB, 16 * GIB)
    with pytest.raises(InputError, match=r"2,000,000 prompts need about \d GiB in .*, and 2 are free.*\(num_prompts\)"):
        check_plans([many], 16 * GIB, 2 * GIB)


@pytest.mark.lengthy
def test_what_fits_passes_and_a_files_requests_are_no_more_than_the_file() -> None:
    check_plans(
        [point(WorkloadSection(8, 8, concurrency=1_000_000)), point(WorkloadSection(1_000_000, 8, concurrency=32))],
        16 * GIB,
    )
    check_plans([point(WorkloadSection(None, 8, 8, 99_999_999, prompts=Dataset("there.json", "sharegpt")))], GIB)


@pytest.mark.lengthy
def test_the_bytes_are_those_that_a_plan_takes() -> None:
    work = WorkloadSection(100, 8, concurrency=4, num_prompts=2_000).description()
    make_plan(work)  # whatever Python makes once
    tracemalloc.start()
    try:
        plan = make_plan(work)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert plan_bytes(plan) == pytest.approx(taken, rel=0.05)


def test_the_command_says_so_before_it_makes_a_folder(tmp_path: Path) -> None:
    file = tmp_path / "many.toml"
    file.write_text(
        'question = "?"\n[engine]\nmodel = "tiny"\n[workload]\ninput_len = { kind = "uniform", low = 8, high = 9 }\n'
        "output_len = 8\nconcurrency = 999999999\nhold = false\n"
    )
    for words in (["--dry-run"], ["--out", str(tmp_path / "out")]):
        outcome = CliRunner().invoke(command, [str(file), *words])
        assert isinstance(outcome.exception, InputError)
        assert "999,999,999 prompts need about" in str(outcome.exception)
    assert not (tmp_path / "out").exists()
