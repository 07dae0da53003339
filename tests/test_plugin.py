"""The plugin waits to be asked, and nothing of it reaches the engine."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from engine_probe import plugin
from engine_probe.errors import IncompleteRecordingWarning


class Broken:
    def __exit__(self, *_: object) -> None:
        raise IncompleteRecordingWarning("as python -W error makes of it")


def test_without_the_variable_nothing_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(plugin.RECORD_VARIABLE, raising=False)
    monkeypatch.setitem(sys.modules, "engine_probe.hook.lifetime", None)  # loading it would fail
    plugin.register()


def test_a_core_that_cannot_be_recorded_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(plugin.RECORD_VARIABLE, str(tmp_path))
    monkeypatch.setattr(plugin.logger, "propagate", True)
    plugin.start(object())
    assert "engine_probe does not record this engine: a object is no vLLM engine" in caplog.text
    plugin.stop(object())  # was never recorded


def test_what_fails_at_the_end_is_said_and_goes_no_further(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    core = object()
    monkeypatch.setitem(plugin._probes, id(core), Broken())
    plugin.stop(core)
    assert "as python -W error makes of it" in caplog.text
    assert not plugin._probes
