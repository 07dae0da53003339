"""The plugin waits to be asked, and nothing of it reaches the engine."""

from __future__ import annotations

import os
import sys
from datetime import datetime
from pathlib import Path

import pytest

from engine_probe import plugin, probe
from engine_probe.errors import IncompleteRecordingWarning
from engine_probe.hook import vllm_versions
from engine_probe.record import run_folder


class Broken:
    def __exit__(self, *_: object) -> None:
        raise IncompleteRecordingWarning("as python -W error makes of it")


def test_without_the_variable_nothing_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(plugin.RECORD_VARIABLE, raising=False)
    monkeypatch.setitem(sys.modules, "engine_probe.hook.core_lifecycle", None)  # loading it would fail
    plugin.register()


def test_a_core_that_cannot_be_recorded_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(plugin.RECORD_VARIABLE, str(tmp_path))
    monkeypatch.setattr(plugin.logger, "propagate", True)
    plugin.start(object())
    assert "engine_probe does not record this engine: a object is not a vLLM engine" in caplog.text
    plugin.stop(object())  # was never recorded


def test_a_window_of_operators_that_cannot_be_is_said_before_an_engine_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(plugin.RECORD_VARIABLE, str(tmp_path))
    monkeypatch.setenv(plugin.OPERATORS_VARIABLE, "20")
    monkeypatch.setattr(plugin.logger, "propagate", True)
    monkeypatch.setattr(vllm_versions, "check_version", lambda force: None)
    monkeypatch.setitem(sys.modules, "engine_probe.hook.core_lifecycle", None)  # loading it would fail
    plugin.register()
    assert "ENGINE_PROBE_OPERATORS is '20'" in caplog.text


def test_the_window_of_operators_reaches_the_probe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = []

    class Watching:
        def __init__(self, core: object, folder: Path, **options: object) -> None:
            asked.append(options["operators"])

        def __enter__(self) -> None:
            pass

    monkeypatch.setenv(plugin.RECORD_VARIABLE, str(tmp_path))
    monkeypatch.setattr(probe, "Probe", Watching)
    monkeypatch.setattr(plugin, "_probes", {})
    first, second = object(), object()
    plugin.start(first)
    monkeypatch.setenv(plugin.OPERATORS_VARIABLE, "20@100")
    plugin.start(second)
    assert asked == [None, "20@100"]


def test_what_fails_at_the_end_is_said_and_goes_no_further(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    core = object()
    monkeypatch.setitem(plugin._probes, id(core), Broken())
    plugin.stop(core)
    assert "as python -W error makes of it" in caplog.text
    assert not plugin._probes


@pytest.mark.lengthy
def test_a_vllm_that_lacks_a_class_starts_without_a_recording(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    core = pytest.importorskip("vllm.v1.engine.core")
    monkeypatch.setenv(plugin.RECORD_VARIABLE, str(tmp_path))
    monkeypatch.setattr(plugin.logger, "propagate", True)
    monkeypatch.delattr(core, "DPEngineCoreProc")
    plugin.register()
    assert "engine_probe records nothing: ImportError: cannot import name 'DPEngineCoreProc'" in caplog.text
    assert len([record for record in caplog.records if record.name == plugin.logger.name]) == 1


def test_an_unknown_vllm_starts_without_a_recording(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(plugin.RECORD_VARIABLE, str(tmp_path))
    monkeypatch.setattr(plugin.logger, "propagate", True)
    monkeypatch.setattr(vllm_versions, "installed_vllm", lambda: ("vllm", "0.99.1"))
    monkeypatch.setitem(sys.modules, "engine_probe.hook.core_lifecycle", None)  # loading it would fail
    plugin.register()
    assert "vllm 0.99.1 is not among the versions the probe knows" in caplog.text


def test_an_engine_that_is_not_recorded_gets_its_permission_for_amx(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[str] = []
    monkeypatch.setenv(plugin.RECORD_VARIABLE, str(tmp_path))
    monkeypatch.setenv(plugin.REQUEST_VARIABLE, "1")
    monkeypatch.setattr(plugin, "request_amx", lambda: asked.append("amx"))
    monkeypatch.setattr(vllm_versions, "installed_vllm", lambda: ("vllm", "0.99.1"))
    plugin.register()
    assert asked == ["amx"]


def test_two_recordings_that_begin_in_one_second_have_folders_of_their_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Noon:
        now = staticmethod(lambda: datetime(2026, 1, 2, 12, 0, 0))

    monkeypatch.setattr(run_folder, "datetime", Noon)
    names = [run_folder.new_folder(tmp_path).name for _ in range(3)]
    assert names == [f"20260102T120000-{os.getpid()}{suffix}" for suffix in ("", "+2", "+3")]
