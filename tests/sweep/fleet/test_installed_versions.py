"""Machines that would measure with other programs are refused by name, before anything is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine_probe.errors import UnavailableError, UnsupportedVersionError
from engine_probe.sweep.fleet import installed_versions, ray_cluster
from engine_probe.sweep.fleet.ray_cluster import RayCluster
from engine_probe.sweep.fleet.resources import RayNode

HERE = {"Python": "3.12.4", "engine_probe": "0.1.0 (1a2b3c4d)", "vLLM": "vllm 0.33.0"}
ONE, OTHER = RayNode("a", "one", 8, 1), RayNode("b", "other", 8, 1)


def check(
    monkeypatch: pytest.MonkeyPatch, other: dict[str, str], here: dict[str, str] = HERE, force: bool = False
) -> None:
    told = [(ONE, {**HERE}), (OTHER, {**HERE, **other})]
    monkeypatch.setattr(ray_cluster, "installed", lambda: dict(here))
    monkeypatch.setattr(RayCluster, "survey", lambda self, nodes: told)
    RayCluster().check_installed([ONE, OTHER], force)


def test_the_same_everywhere_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    check(monkeypatch, {})


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"Python": "3.11.9"}, "other has Python 3.11.9 and not 3.12.4: install the same on every machine"),
        (
            {"engine_probe": "none"},
            "other has engine_probe none and not 0.1.0 (1a2b3c4d): install the same on every machine",
        ),
        ({"vLLM": "vllm 0.32.0"}, "other has vLLM vllm 0.32.0 and not vllm 0.33.0: install the same on every machine"),
        ({"vLLM": "none"}, "other has no vLLM: install the same one on every machine of the fleet"),
    ],
)
def test_a_difference_is_told_with_the_machine(
    monkeypatch: pytest.MonkeyPatch, other: dict[str, str], said: str
) -> None:
    with pytest.raises(UnavailableError) as refused:
        check(monkeypatch, other)
    assert str(refused.value) == said


def test_a_vllm_the_probe_does_not_know_needs_consent(monkeypatch: pytest.MonkeyPatch) -> None:
    new = {**HERE, "vLLM": "vllm 9.9.0"}
    monkeypatch.setattr(ray_cluster, "installed", lambda: dict(new))
    monkeypatch.setattr(RayCluster, "survey", lambda self, nodes: [(ONE, new)])
    with pytest.raises(UnsupportedVersionError, match=r"one has vllm 9.9.0, which is not among the versions"):
        RayCluster().check_installed([ONE], force=False)
    RayCluster().check_installed([ONE], force=True)


def test_a_machine_that_only_looks_on_needs_no_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    without = {**HERE, "vLLM": "none"}
    check(monkeypatch, {}, here=without)
    with pytest.raises(UnavailableError, match=r"other has vLLM vllm 0.32.0 and not vllm 0.33.0"):
        check(monkeypatch, {"vLLM": "vllm 0.32.0"}, here=without)


def test_the_source_counts_and_not_the_version_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "some_package"
    package.mkdir()
    (package / "__init__.py").write_text("one = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    before = installed_versions.source_digest("some_package")
    (package / "__init__.py").write_text("one = 2\n")
    assert installed_versions.source_digest("some_package") != before
    assert installed_versions.source_digest("no_package_at_all") == "none"
