"""The version matrix counts what pytest reports, and a wheel becomes an overlay once."""

from __future__ import annotations

import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tools.vllm_versions import versions

REPORT = """<testsuites><testsuite>
  <testcase name="good" /><testcase name="fine" />
  <testcase name="bad"><failure message="no" /></testcase>
  <testcase name="broken"><error message="no" /></testcase>
  <testcase name="drafts"><skipped message="cannot here" /></testcase>
</testsuite></testsuites>"""


def test_failures_errors_and_skips_are_counted_and_named() -> None:
    outcome = versions.counted("0.30.0", ElementTree.ElementTree(ElementTree.fromstring(REPORT)), 61.4)
    assert (outcome.passed, outcome.failed, outcome.skipped) == (2, 2, 1)
    assert outcome.row() == (
        "| 0.30.0 | tests | 2 | 2 | 1 | 61 s | failed: bad; failed: broken; skipped drafts: cannot here |"
    )


def test_a_wheel_is_unpacked_once_and_only_what_is_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINE_PROBE_CACHE", str(tmp_path))
    monkeypatch.setattr(versions, "OVERLAY_BYTES", 1)
    asked = []

    def download(requirement: str, folder: Path) -> Path:
        asked.append(requirement)
        with zipfile.ZipFile(folder / "some.whl", "w") as wheel:
            wheel.writestr("vllm/core.py", "x = 1")
            wheel.writestr("vllm/_C.abi3.so", "huge")
        return folder / "some.whl"

    monkeypatch.setattr(versions, "download", download)
    for _ in range(2):
        folder = versions.unpacked("vllm==0.33.0", lambda name: name.endswith(".py"))
    assert folder == tmp_path / "versions" / "vllm-0.33.0"
    assert [path.name for path in folder.rglob("*") if path.is_file()] == ["core.py"]
    assert asked == ["vllm==0.33.0"]


def test_sources_that_lack_a_name_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "unpacked", lambda requirement, wanted: tmp_path)
    outcome = versions.read_sources("0.33.0")
    assert outcome.failed > 0
    assert any("scheduler.py is not there" in remark for remark in outcome.remarks)


def test_an_unknown_version_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert versions.main(["0.1.0"]) == 2
    assert "0.1.0 is none of the versions to test: 0.28.0, " in capsys.readouterr().err


def test_sources_alone_start_no_engine(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(versions, "read_sources", lambda version: versions.Outcome(version, "sources", passed=1))
    assert versions.main(["0.30.0", "0.33.0", "--sources"]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| 0.")]
    assert [row.split(" | ")[:2] for row in rows] == [["| 0.30.0", "sources"], ["| 0.33.0", "sources"]]


def test_every_version_is_one_that_the_hooks_declare() -> None:
    from engine_probe.hook.vllm_versions import is_supported

    assert all(is_supported(version) for version in (*versions.RUN, *versions.READ))


def test_the_python_of_a_cuda_build_is_laid_over_the_installed_extensions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources, installed = tmp_path / "sources", tmp_path / "installed"
    for file in (sources / "vllm" / "core.py", installed / "vllm" / "_C.abi3.so", installed / "vllm" / "core.py"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(str(file.parent))

    class Distribution:
        def locate_file(self, name: str) -> Path:
            return installed / name

    monkeypatch.setenv("ENGINE_PROBE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(versions, "OVERLAY_BYTES", 1)
    monkeypatch.setattr(versions, "sources", lambda version: sources)
    monkeypatch.setattr(versions, "distribution", lambda name: Distribution())
    folder = versions.with_cpu_extensions("0.33.0")
    assert (folder / "vllm" / "core.py").read_text() == str(sources / "vllm")
    assert (folder / "vllm" / "_C.abi3.so").exists()
    assert "Version: 0.33.0+cpu" in (folder / "vllm-0.33.0+cpu.dist-info" / "METADATA").read_text()
