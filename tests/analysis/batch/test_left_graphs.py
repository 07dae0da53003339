"""Decode steps that outgrow the graphs between two levels, and whether that is where growth ends."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from engine_probe.analysis.batch.graphs import GraphUse
from engine_probe.analysis.batch.left_graphs import left_graphs
from engine_probe.analysis.curve.growth import Boundary
from engine_probe.analysis.curve.saturation import Saturation

KNEE = Boundary(250, 200, 300, 0.95)


def curve(end: Boundary | None = KNEE, kv_reached: float | None = None) -> Saturation:
    return cast(Saturation, SimpleNamespace(saturation=end, kv=SimpleNamespace(reached=kv_reached)))


def uses(**shares: tuple[float, ...]) -> dict[float, list[GraphUse | None]]:
    """Return what `left_graphs` is given: of each load the shares of its repeats beyond the largest graph."""
    found: dict[float, list[GraphUse | None]] = {}
    for load, repeats in shares.items():
        found[float(load.removeprefix("at"))] = [GraphUse((), 256, share, None, None) for share in repeats]
    return found


OUTGROWN = uses(at64=(0.0, 0.0), at192=(0.0, 0.1), at288=(0.8, 0.9), at512=(1.0,))


def test_the_change_lies_between_two_levels_and_at_the_knee() -> None:
    found = left_graphs(OUTGROWN, curve())
    assert found is not None
    assert (found.within, found.beyond, found.share, found.largest) == (192, 288, 0.8, 256)
    assert found.at_knee
    assert not found.waited_for_kv


@pytest.mark.parametrize(
    ("end", "at_knee"),
    [(Boundary(100, 64, 128, 0.95), False), (Boundary(400, 300, 500, 0.95), False), (None, False), (KNEE, True)],
)
def test_a_knee_elsewhere_is_not_explained(end: Boundary | None, at_knee: bool) -> None:
    found = left_graphs(OUTGROWN, curve(end))
    assert found is not None
    assert found.at_knee == at_knee


@pytest.mark.parametrize(("reached", "waited"), [(192.0, True), (288.0, True), (512.0, False)])
def test_the_pool_counts_only_if_requests_waited_for_it_there(reached: float, waited: bool) -> None:
    found = left_graphs(OUTGROWN, curve(kv_reached=reached))
    assert found is not None
    assert found.waited_for_kv == waited


def test_silent_unless_every_repeat_shows_it() -> None:
    torn = uses(at64=(0.0,), at192=(0.2, 0.7), at288=(0.8,))
    back = uses(at64=(0.9,), at192=(0.0,), at288=(0.8,))
    inside = uses(at64=(0.0,), at512=(0.4,))
    unknown: dict[float, Any] = OUTGROWN | {128.0: [None]}
    assert [left_graphs(each, curve()) for each in (torn, back, inside, unknown, {})] == [None] * 5
