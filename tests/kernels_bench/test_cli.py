"""The command line: errors come before any measurement, and a real run on this CPU succeeds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from kernels_bench.cli import command
from kernels_bench.devices.cpu import host_free_bytes
from kernels_bench.devices.find import wanted_gpus
from kernels_bench.errors import InputError, UnavailableError
from kernels_bench.output import json_file
from kernels_bench.output.json_file import read_report
from kernels_bench.results import INVALID, MEASURED, SKIPPED
from kernels_bench.timing import budget

needs_no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="only a machine without a GPU can lack one")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINE_PROBE_CACHE", str(tmp_path / "cache"))


def existing(tmp_path: Path) -> str:
    (tmp_path / "there.json").write_text("{}")
    return str(tmp_path / "there.json")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--only", "gemmm"], 2, "did you mean gemm?"),
        (["--only", "memory,xyz"], 2, "known are memory, gemm"),
        (["--only", ""], 2, 'names "", which is not a test'),
        (["--device", "tpu"], 2, '--device is "tpu", expected cpu, all, or GPUs such as cuda:0,1'),
        (["--device", "cuda:x"], 2, "expected cpu"),
        (["--device", "cpu", "--only", "p2p"], 3, "needs two GPUs, and there is cpu only"),
        (["--device", "cpu", "--only", "pcie"], 3, "needs a GPU"),
        (["--baseline", "nowhere.json"], 2, "nowhere.json cannot be read: No such file"),
        (["--tolerance", "0"], 2, "0"),
        (["--json", "nowhere/x.json"], 2, "there is no folder nowhere"),
        (["--json", "x", "--html", "x"], 2, "both x: name two files"),
        (["--html", "nowhere/x.html"], 2, "--html nowhere/x.html: there is no folder nowhere"),
        (["--raay"], 2, "No such option"),
    ],
)
def test_wrong_input_is_one_sentence(arguments: list[str], code: int, said: str) -> None:
    done = CliRunner().invoke(command, arguments)
    assert done.exit_code == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_an_existing_report_is_refused_before_anything_runs(tmp_path: Path) -> None:
    done = CliRunner().invoke(command, ["--device", "cpu", "--json", existing(tmp_path)])
    assert (done.exit_code, done.stdout) == (2, "")
    assert "never overwritten" in done.stderr


def test_a_corrupt_baseline_is_refused_before_anything_runs(tmp_path: Path) -> None:
    done = CliRunner().invoke(command, ["--device", "cpu", "--baseline", existing(tmp_path)])
    assert (done.exit_code, done.stdout) == (2, "")
    assert "missing required field `schema`" in done.stderr


@needs_no_gpu
@pytest.mark.parametrize("wanted", ["all", "cuda", "cuda:0", "cuda:0,1"])
def test_a_machine_without_cuda_says_so(wanted: str) -> None:
    done = CliRunner().invoke(command, ["--device", wanted])
    assert done.exit_code == 3
    assert "use --device cpu" in done.stderr


@pytest.mark.parametrize(
    ("wanted", "cards"),
    [("all", (0, 1, 2)), ("cuda", (0,)), ("cuda:1", (1,)), ("cuda:2,0", (2, 0)), ("cuda:0,cuda:1,1", (0, 1))],
)
def test_cards_by_their_numbers(wanted: str, cards: tuple[int, ...]) -> None:
    assert wanted_gpus(wanted, 3) == cards


def test_cards_that_are_not_there() -> None:
    with pytest.raises(InputError, match="names cuda:3, and torch sees cuda:0 to cuda:2"):
        wanted_gpus("cuda:0,3", 3)
    with pytest.raises(InputError, match="torch sees cuda:0 only"):
        wanted_gpus("cuda:1", 1)
    with pytest.raises(UnavailableError):
        wanted_gpus("cuda:0", 0)


def test_engine_probe_validate_is_the_same_command() -> None:
    line = [sys.executable, "-m", "engine_probe", "validate", "--only", "gemmm"]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == 'engine_probe: --only names "gemmm", which is not a test: did you mean gemm?\n'


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("--qick", "there is no option --qick: did you mean --quick?"),
        ("--tolerance x", "--tolerance is 'x': give a finite number above 0 and at most 100"),
        ("gemm", "got unexpected extra argument (gemm)"),
    ],
)
def test_wrong_usage_is_one_sentence(line: str, sentence: str) -> None:
    command = [sys.executable, "-m", "kernels_bench", *line.split()]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, f"kernels_bench: {sentence}\n")


@pytest.mark.lengthy
def test_two_tests_on_this_processor_from_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "MINUTE_S", 3_600.0)  # so that a busy machine leaves nothing out
    path = tmp_path / "report.json"
    arguments = ["--device", "cpu", "--quick", "--only", "launch,memory"]
    first = CliRunner().invoke(command, [*arguments, "--json", str(path)])
    assert first.exit_code == 0, first.output
    results = read_report(path).results
    assert [(result.test, result.name) for result in results] == [
        *(("memory", name) for name in ("copy", "read", "write", "triad")),
        ("launch", "operator"),
    ]
    assert all(result.verdict == "MEASURED" for result in results)  # no pass mark is known for a processor
    assert all(result.figure and result.figure.value > 0 for result in results)
    assert all(result.figure and result.figure.check for result in results[:4])
    assert all(result.figure.check.passed for result in results if result.figure and result.figure.check)

    second = CliRunner().invoke(
        command, [*arguments, "--only", "launch", "--baseline", str(path), "--tolerance", "100"]
    )
    assert second.exit_code == 0, second.output
    assert "against the baseline's" in second.output


@pytest.mark.lengthy
def test_a_full_disk_takes_nothing_off_the_screen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> None:
        raise UnavailableError(f"cannot write {path}: No space left on device; name another file")

    monkeypatch.setattr(json_file, "write_new", full)
    line = ["--device", "cpu", "--quick", "--only", "launch", "--json", str(tmp_path / "report.json")]
    done = CliRunner().invoke(command, line)
    assert done.exit_code == 3
    assert "operator" in done.stdout
    assert "No space left on device" in done.stderr
    assert list((tmp_path / "cache" / "ceilings").glob("*/*.json"))


@pytest.mark.lengthy
def test_ctrl_c_keeps_what_was_finished(tmp_path: Path) -> None:
    """A real one, to the whole group of processes as a terminal sends it."""
    path = tmp_path / "report.json"
    line = [sys.executable, "-m", "kernels_bench", "--device", "cpu", "--quick", "--json", str(path)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
                          preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)) as running:  # fmt: skip
        assert running.stderr is not None
        assert any("GB/s" in line for line in iter(running.stderr.readline, ""))
        os.killpg(running.pid, signal.SIGINT)
        shown, said = running.communicate()
    assert running.returncode == 130, said
    assert "stopped by Ctrl-C before the end" in shown
    report = read_report(path)
    assert report.stopped
    assert report.results[0].figure is not None
    assert "Traceback" not in said


NEEDED_BYTES = 3 << 30  # of which a quarter may be taken: half a GiB for copies of a cache of 32 MiB, and room


@pytest.mark.slow
@pytest.mark.timeout(900)  # beside seven other programs each second of it takes five
def test_everything_on_this_processor(tmp_path: Path) -> None:
    """Other programs may make a figure unstable or slow, or leave no time for it, and none of that is a verdict here.

    Where they leave too little memory the suite must say INVALID with that reason; then, and only then, that is right.
    """
    path = tmp_path / "report.json"
    command_line = [sys.executable, "-m", "kernels_bench", "--device", "cpu", "--quick", "--json", str(path)]
    free = host_free_bytes()
    done = subprocess.run(command_line, capture_output=True, text=True)
    scarce = min(free, host_free_bytes()) < NEEDED_BYTES
    report = read_report(path)
    invalid = [result for result in report.results if result.verdict == INVALID]
    assert scarce or not invalid, done.stdout
    assert all("MiB" in result.reasons[0] or "memory" in result.reasons[0] for result in invalid)
    assert done.returncode == (3 if invalid else 0), done.stdout + done.stderr
    assert {result.verdict for result in report.results} - {INVALID} == {MEASURED, SKIPPED}
    assert "no pass mark known" in done.stdout
    seen = {result.test for result in report.results if result.figure or result.verdict == INVALID}
    left_out = {result.test for result in report.results if result.skipped and result.skipped.out_of_time}
    assert seen | left_out == {"memory", "gemm", "attention", "launch", "sustained"}
    assert all(any(cut.startswith(test) for cut in report.measured_less) for test in left_out)
