"""What an engine takes of a machine, and which sweeps a fleet refuses before anything is started."""

from __future__ import annotations

import pytest

from engine_probe.engine.engine_spec import EngineSpec
from engine_probe.errors import InputError
from engine_probe.sweep.fleet.resources import EngineShare, RayNode, check_claims, claim_of, mixed_gpus
from tests.support.values import values

HEAD = RayNode("a", "head", 8, 0)
FOUR = RayNode("b", "four", 64, 4, "H100")
ONE = RayNode("c", "one", 16, 1, "L40S")
SMALL, LARGE = RayNode("d", "small", 4, 0), RayNode("e", "large", 32, 0)


def engine(**arguments: object) -> EngineSpec:
    return EngineSpec("tiny", arguments)


@pytest.mark.parametrize(
    ("arguments", "cards"),
    [
        ({}, 1),
        ({"tensor_parallel_size": 4}, 4),
        ({"tensor_parallel_size": 2, "pipeline_parallel_size": 2}, 4),
        ({"tensor_parallel_size": 2, "data_parallel_size": 2, "distributed_executor_backend": "mp"}, 4),
    ],
)
def test_each_rank_takes_a_card_and_a_core(arguments: dict[str, object], cards: int) -> None:
    assert claim_of(engine(**arguments), [HEAD, FOUR], on_gpus=True) == EngineShare(cards, cards)


def test_without_cards_an_engine_takes_a_whole_machine_of_the_largest_kind() -> None:
    """Its threads would spread over all cores in any case."""
    assert claim_of(engine(tensor_parallel_size=2), [SMALL, LARGE], on_gpus=False) == EngineShare(32, 0)


def test_the_machines_that_will_be_used_are_named() -> None:
    assert check_claims([[engine()], [engine(tensor_parallel_size=2)]], [HEAD, FOUR, ONE]) == [FOUR, ONE]
    assert check_claims([[engine()]], [SMALL, LARGE]) == [LARGE]


def test_what_no_machine_holds_is_refused_with_what_it_wants_and_the_largest_has() -> None:
    with pytest.raises(InputError) as refused:
        check_claims([[engine()], [engine(tensor_parallel_size=8)]], [HEAD, FOUR, ONE])
    assert values(str(refused.value)) == ["8", "8", "8", "4", "64"]
    assert "(four)" in str(refused.value)


def test_on_processors_each_rank_wants_a_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VLLM_CPU_OMP_THREADS_BIND", raising=False)
    wide = engine(tensor_parallel_size=16, pipeline_parallel_size=4)
    with pytest.raises(InputError) as refused:
        check_claims([[engine()], [wide]], [SMALL, LARGE])
    assert values(str(refused.value)) == ["16", "4", "64", "32"]
    assert "(large)" in str(refused.value)
    assert check_claims([[engine(tensor_parallel_size=32)]], [SMALL, LARGE]) == [LARGE]
    monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", "|".join(["0"] * 64))  # who shares cores out by hand may
    assert check_claims([[wide]], [SMALL, LARGE]) == [LARGE]


def test_a_fleet_without_a_core_is_refused() -> None:
    with pytest.raises(InputError, match="no machine with a CPU"):
        check_claims([[engine()]], [RayNode("a", "head", 0, 0)])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"distributed_executor_backend": "ray"}, 'distributed_executor_backend is "ray"'),
        ({"data_parallel_backend": "ray"}, 'data_parallel_backend is "ray"'),
        ({"nnodes": 2}, "nnodes: an engine over several machines is run without --ray"),
        ({"tensor_parallel_size": "two"}, "tensor_parallel_size is 'two'"),
    ],
)
def test_an_engine_that_looks_for_machines_itself_is_refused(arguments: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        check_claims([[engine(**arguments)]], [FOUR])


def test_different_cards_are_told_once() -> None:
    assert mixed_gpus([FOUR, FOUR, HEAD]) is None
    assert values(mixed_gpus([FOUR, ONE, FOUR])) == ["100", "2", "40", "1"]


ROOM = [RayNode("a", "a", 16, 8), RayNode("b", "b", 16, 4)]


def test_engines_together_are_refused_where_there_is_no_room_for_all() -> None:
    mix = [engine()] * 4 + [engine(tensor_parallel_size=2)] * 4
    assert check_claims([mix], ROOM) == ROOM
    with pytest.raises(InputError, match=r"9 engines together \(5 with 1 GPU, 4 with 2 GPUs\) need 13 GPUs"):
        check_claims([[engine(), *mix]], ROOM)


def test_gpus_that_are_left_on_two_machines_hold_no_engine_of_two() -> None:
    with pytest.raises(InputError, match=r"3 engines together .* need 6 GPUs, and this fleet has 6 on 2 machines"):
        check_claims([[engine(tensor_parallel_size=2)] * 3], [RayNode("a", "a", 16, 3), RayNode("b", "b", 16, 3)])


def test_large_engines_are_placed_first() -> None:
    assert check_claims([[engine(), engine(), engine(tensor_parallel_size=4)]], [RayNode("a", "a", 16, 6)])


def test_on_cpus_each_of_them_needs_a_machine() -> None:
    with pytest.raises(InputError, match="need 3 machines, and this fleet has 2: on CPUs each engine takes a machine"):
        check_claims([[engine()] * 3], [RayNode("a", "a", 8, 0), RayNode("b", "b", 8, 0)])
