"""`--ray` with an address that leads nowhere ends with a sentence, and soon."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from engine_probe.errors import EngineProbeError, InputError, UnavailableError
from engine_probe.sweep.fleet.ray_cluster import check_address, connected


def refused(address: str) -> EngineProbeError:
    with pytest.raises(EngineProbeError) as found, connected(address):
        pass
    return found.value


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.mark.lengthy
def test_where_nobody_answers_that_is_said(closed_port: int) -> None:
    error = refused(f"127.0.0.1:{closed_port}")
    assert isinstance(error, UnavailableError)
    assert str(error).startswith(f"--ray 127.0.0.1:{closed_port}: nothing answers at 127.0.0.1:{closed_port} (")


def test_auto_on_a_machine_without_a_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    assert str(refused("auto")).startswith("--ray auto: no cluster runs on this machine")


def test_auto_looks_where_a_cluster_was_noted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, closed_port: int
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray/ray_current_cluster").write_text(f"127.0.0.1:{closed_port}\n")
    assert f"nothing answers at 127.0.0.1:{closed_port}" in str(refused("auto"))


@pytest.mark.parametrize("address", ["nonsense", "host:", ":6379", "host:port"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(InputError, match="give auto, local or HOST:PORT"):
        check_address(address)


def test_a_client_from_outside_is_told_to_come_in() -> None:
    with pytest.raises(InputError, match="has to run on a machine of the cluster"):
        check_address("ray://head:10001")


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert str(refused("local")) == "--ray needs the extra `ray`: pip install 'engine-probe[ray]'"
