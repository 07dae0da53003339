"""Processes that build an engine request AMX, and so do the processes that vLLM starts for them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine_probe import plugin
from engine_probe.engine.cpu import amx

needs_amx = pytest.mark.skipif(not amx.has_amx(), reason="this processor has no AMX")


PRELUDE = """
import ctypes, json
from engine_probe import plugin
from engine_probe.engine.cpu import amx
from engine_probe.engine.cpu.amx import request_amx

def amx_permitted():
    allowed = ctypes.c_uint64()
    refused = amx._arch_prctl(0x1022, ctypes.byref(allowed))  # ARCH_GET_XCOMP_PERM
    return not refused and bool(allowed.value >> amx.TILE_DATA & 1)
"""


def in_a_fresh_process(lines: str, **environment: str) -> object:
    """Return what the lines print as JSON; the permission is lost at exec, so a fresh process has none."""
    program = f"{PRELUDE}\n{lines}"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **environment})
    return json.loads(done.stdout)


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(amx.REQUEST_VARIABLE, raising=False)


class TestPermission:
    @needs_amx
    def test_is_there_after_the_request(self) -> None:
        lines = "print(json.dumps([amx_permitted(), request_amx(), amx_permitted()]))"
        assert in_a_fresh_process(lines) == [False, None, True]

    @needs_amx
    def test_goes_together_with_the_faulthandler(self) -> None:
        """The faulthandler's signal stack must be large enough for the tiles, or the kernel refuses."""
        lines = "import faulthandler; faulthandler.enable(); print(json.dumps([request_amx(), amx_permitted()]))"
        assert in_a_fresh_process(lines) == [None, True]

    @needs_amx
    def test_is_requested_by_the_plugin_where_we_build_the_engine(self) -> None:
        lines = "plugin.register(); print(json.dumps(amx_permitted()))"
        assert in_a_fresh_process(lines, **{amx.REQUEST_VARIABLE: "1"}) is True

    @needs_amx
    def test_is_not_requested_by_the_plugin_in_a_process_of_the_users(self) -> None:
        assert in_a_fresh_process("plugin.register(); print(json.dumps(amx_permitted()))") is False

    @pytest.mark.lengthy
    @needs_amx
    def test_is_not_requested_by_a_probe(self) -> None:
        lines = "from engine_probe import Probe; Probe(object()); print(json.dumps(amx_permitted()))"
        assert in_a_fresh_process(lines) is False

    def test_refusal_is_the_kernels_own_reason(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(amx, "has_amx", lambda: True)
        monkeypatch.setattr(amx, "TILE_DATA", 63)  # no such state
        assert amx.request_amx() in {"Operation not supported", "Invalid argument"}


class TestOtherProcessors:
    def test_nothing_is_requested_without_amx(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        cpuinfo = tmp_path / "cpuinfo"
        cpuinfo.write_text("processor : 0\nflags : fpu sse2 avx512f\n")
        monkeypatch.setattr(amx, "CPUINFO", cpuinfo)
        refuse_system_calls(monkeypatch)
        assert amx.request_amx() is None

    def test_nothing_is_requested_on_other_architectures(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(amx.platform, "machine", lambda: "aarch64")  # where this number is another system call
        refuse_system_calls(monkeypatch)
        assert amx.request_amx() is None


def refuse_system_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a system call was made")

    monkeypatch.setattr(amx, "_arch_prctl", refuse)


class TestEnvironment:
    def test_tells_the_processes_that_vllm_starts_and_no_others(self) -> None:
        with amx.amx_requested():
            assert os.environ[amx.REQUEST_VARIABLE] == "1"
        assert amx.REQUEST_VARIABLE not in os.environ

    def test_is_as_before_after_a_failure(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(amx.REQUEST_VARIABLE, "from outside")
        with pytest.raises(ValueError, match="no engine"), amx.amx_requested():
            raise ValueError("no engine")
        assert os.environ[amx.REQUEST_VARIABLE] == "from outside"

    def test_plugin_requests_only_when_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        requests: list[None] = []
        monkeypatch.setattr(plugin, "request_amx", lambda: requests.append(None))
        monkeypatch.delenv(plugin.RECORD_VARIABLE, raising=False)
        plugin.register()
        assert not requests
        monkeypatch.setenv(amx.REQUEST_VARIABLE, "1")
        plugin.register()
        assert len(requests) == 1
