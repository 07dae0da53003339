"""`engine_probe compare`: point by point, and a gate that a CI job stops at."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from engine_probe.commands.compare import command
from tests.support.recordings.run_folders import facts, ran, write_run, write_sweep

RATE = "output_tokens_per_s < -5%"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Twenty requests with a pool of 60 blocks, and with 40."""
    place = tmp_path_factory.mktemp("runs")
    return write_run(place / "a", ran(20), facts(60)), write_run(place / "b", ran(20, blocks=40), facts(40))


def compare(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_a_smaller_pool_costs_throughput_and_one_run_of_each_leaves_the_gate_open(runs: tuple[Path, Path]) -> None:
    """Exit code 4 is none of a broken bound, and none that passes a CI job in silence."""
    result = compare(*runs, "--fail-if", RATE, "--format", "json")
    assert result.exit_code == 4
    assert compare(*runs, "--fail-if", RATE, "--strict").exit_code == 1
    (found,) = json.loads(result.stdout)
    (gate,) = found["gates"]
    assert (gate["answer"], gate["p"]) == ("open", None)
    assert gate["said"] == result.stderr.strip()
    first = found["points"][0]["changes"][0]
    assert (first["metric"], first["better"], first["repeats"], first["p"], round(first["relative"], 3)) == (
        "output_tokens_per_s",
        "more",
        [1, 1],
        None,
        -0.201,
    )
    assert compare(*reversed(runs), "--fail-if", RATE).exit_code == 4


def test_outside_a_terminal_what_did_not_pass_goes_to_stderr_too(runs: tuple[Path, Path]) -> None:
    """A CI log shows both streams, and ends with the reason for its failure."""
    result = compare(*runs, "--fail-if", RATE)
    assert result.stdout.replace("\n", " ").count(f"open {RATE}") == 1
    assert result.stderr.count(f"open {RATE}") == 1


def with_repeats(folder: Path, *blocks: int) -> Path:
    """A sweep of one level, once for each size of pool."""
    points = []
    for number, size in enumerate(blocks):
        write_run(folder / "points" / f"p{number}", ran(20, blocks=size), facts(60))
        work = {"concurrency": 20, "input_len": 48, "output_len": 40}
        points.append({"id": f"p{number}", "point": {"workload": work, "repeat": number}, "status": "complete"})
    (folder / "sweep.json").write_text(json.dumps({"sweep": {"question": "?"}, "points": points}))
    return folder


def test_repeats_within_one_sweep_tell_nothing(tmp_path: Path) -> None:
    """They agree within 1 %, and share what the machine did while they were measured one after another."""
    large, small = with_repeats(tmp_path / "a", 60, 60, 61), with_repeats(tmp_path / "b", 40, 40, 41)
    (found,) = json.loads(compare(large, small, "--format", "json").stdout)
    assert [point["point"] for point in found["points"]] == ["concurrency 20"]
    changes = found["points"][0]["changes"]
    assert {(each["p"], each["interval"], each["verdict"]) for each in changes} == {(None, None, "not tested")}


@pytest.mark.lengthy
def test_a_point_that_is_gone_is_named_and_holds_no_gate(tmp_path: Path) -> None:
    before, after = write_sweep(tmp_path / "a", (1, 2, 4)), write_sweep(tmp_path / "b", (1, 2))
    whole = compare(before, after, "--fail-if", RATE)
    assert (whole.exit_code, f"Only in {before}: concurrency 4" in whole.stdout.replace("\n", "")) == (4, True)
    (after / "points" / "p2" / "run.json").unlink()
    broken = compare(before, after, "--fail-if", RATE)
    assert broken.exit_code == 1
    assert f"not measured {RATE}: concurrency 2, no complete results on both sides" in broken.stderr


@pytest.mark.parametrize("which", ["alone", "kinds", "points", "metric"])
def test_what_cannot_be_compared_is_refused(runs: tuple[Path, Path], tmp_path: Path, which: str) -> None:
    sweep = write_sweep(tmp_path / "sweep", (1,))
    arguments, why = {
        "alone": ((runs[0],), "name a second folder"),
        "kinds": ((runs[0], sweep), "compare two of the same kind"),
        "points": ((sweep, write_sweep(tmp_path / "other", (2,))), "no point in common"),
        "metric": ((*runs, "--fail-if", "ttft_p99_ms > 5%"), "these runs have no ttft_p99_ms"),
    }[which]
    result = compare(*arguments)
    assert why in str(result.exception)
    assert getattr(result.exception, "exit_code", None) == 2


def test_a_name_is_only_a_name(tmp_path: Path) -> None:
    mine = write_run(tmp_path / "a", ran(1), facts(name="tiny"))
    theirs = write_run(tmp_path / "b", ran(1), facts(name="<script>`|\x1b[31m"))
    text = compare(mine, theirs, "--format", "markdown").stdout
    assert "<script>" not in text
    assert "\x1b" not in text + compare(mine, theirs).stdout


@pytest.mark.lengthy
def test_a_bound_is_open_where_neither_side_has_its_metric_and_lost_where_one_has(tmp_path: Path) -> None:
    """One answer of 40 tokens has no 99th percentile of its gaps; a gate that nobody could hold is none that holds."""
    few, many = write_run(tmp_path / "few", ran(1)), write_run(tmp_path / "many", ran(20))
    gate = ("--fail-if", "itl_p99_ms > 5%")
    lost = compare(many, few, *gate)
    assert lost.exit_code == 1
    assert "not measured itl_p99_ms > 5%: only before has itl_p99_ms" in lost.stderr
    a, b = (write_sweep(tmp_path / name, (1, 20)) for name in ("a", "b"))
    open_ = compare(a, b, *gate)
    assert open_.exit_code == 4
    assert "open itl_p99_ms > 5%: concurrency 1, neither side has itl_p99_ms" in open_.stderr
    assert compare(a, b, *gate, "--strict").exit_code == 1
