"""What each of several engines gets of this machine."""

from __future__ import annotations

import os

import pytest

from engine_probe.engine.cpu.cpu_binding import BINDING
from engine_probe.engine.engine_spec import EngineSpec
from engine_probe.errors import InputError
from engine_probe.sweep.replicas.machine_shares import VISIBLE, WHOLE, shares_here

ONE, TWO = EngineSpec("tiny"), EngineSpec("tiny", {"tensor_parallel_size": 2})


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight cores, and no settings of the user."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.delenv(BINDING, raising=False)
    monkeypatch.delenv(VISIBLE, raising=False)


def test_one_engine_has_it_all() -> None:
    assert shares_here([TWO], 0) == shares_here([TWO], 8) == [WHOLE]


def test_each_rank_has_as_many_cores_as_any_other() -> None:
    shares = shares_here([ONE, TWO], 0)
    assert [share.cores for share in shares] == [(0, 1), (2, 3, 4, 5)]
    assert {share.engines for share in shares} == {2}
    assert not any(share.environment for share in shares)


def test_each_rank_has_a_gpu_of_its_own() -> None:
    shares = shares_here([ONE, TWO, ONE], 4)
    assert [share.environment for share in shares] == [{VISIBLE: "0"}, {VISIBLE: "1,2"}, {VISIBLE: "3"}]
    assert not any(share.cores for share in shares)


def test_gpus_that_the_user_hides_stay_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VISIBLE, "5,7")
    assert [share.environment[VISIBLE] for share in shares_here([ONE, ONE], 2)] == ["5", "7"]
    with pytest.raises(InputError, match="3 engines together need 3 GPUs, and this machine has 2"):
        shares_here([ONE] * 3, 2)


def test_more_engines_than_cores_are_refused() -> None:
    with pytest.raises(InputError, match="9 engines together need 9 cores, and this machine has 8: lower replicas"):
        shares_here([ONE] * 9, 0)


def test_a_binding_for_all_engines_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BINDING, "0-3")
    with pytest.raises(InputError, match=f"{BINDING} binds every engine to the same cores: unset it"):
        shares_here([ONE, ONE], 0)
