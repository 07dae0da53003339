"""The latency of a link between two simulated GPUs, whose truth is known: from a graph, and where CUDA refuses one."""

from typing import Any

import pytest

from kernels_bench.benchmarks import p2p
from kernels_bench.benchmarks.context import Bench
from kernels_bench.results import Check, Figure
from kernels_bench.timing import clocks
from kernels_bench.timing.clocks import CudaClock
from kernels_bench.timing.measure import QUICK
from tests.support.devices.fake_bench import L40S
from tests.support.devices.simulated_link import EVENT_NS, ISOLATION, UNJOINED, WAIT_NS, Buffer, SimulatedLink, torch_of

NOT_PERMITTED = "CUDA error: operation not permitted when stream is capturing"
LINK_NS = 1_900.0
FROM_A_GRAPH = "from a graph, behind a spinning kernel"


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what measures the latency from GPU 0 to GPU 1."""
    monkeypatch.setattr(p2p, "same", lambda got, sent, name: Check(got.content == sent.content, name, 1, 0.0))

    def measure(link: SimulatedLink) -> Figure:
        for module in (clocks, p2p):
            monkeypatch.setattr(module, "torch", torch_of(link))
        monkeypatch.setattr(CudaClock, "now_ns", lambda clock: int(link.host_ns))
        streams = dict(link.streams)
        bench = Bench(L40S, CudaClock(L40S, lambda: None), QUICK, True, lambda text: None)
        chain = p2p._Chain("cuda:0", "cuda:1", Buffer(link, "cuda:1", b"old"), Buffer(link, "cuda:0", b"new"))
        (figure,) = p2p.link_latency(bench, chain)
        assert isinstance(figure, Figure)
        assert (link.streams, link.current) == (streams, "cuda:0")  # as they were, also after a refused capture
        return figure

    return measure


@pytest.mark.parametrize("launch_us", [5, 40, 400])
def test_a_replayed_chain_tells_the_link_alone(launch_us: int, measured: Any) -> None:
    figure = measured(SimulatedLink(LINK_NS, launch_us * 1e3))
    assert figure.value == pytest.approx(LINK_NS, rel=1e-6)
    assert figure.samples.iqr_ns == pytest.approx(0, abs=0.01)
    assert figure.detail == {"bytes": 8, "transfers": 16, "launched": FROM_A_GRAPH}
    assert figure.check == Check(True, "what was sent", 1, 0.0)


@pytest.mark.parametrize("launch_us", [5, 40, 400])
def test_where_a_graph_is_refused_the_figure_has_two_events_and_says_so(launch_us: int, measured: Any) -> None:
    figure = measured(SimulatedLink(LINK_NS, launch_us * 1e3, refusal=NOT_PERMITTED))
    assert figure.value == pytest.approx(LINK_NS + EVENT_NS + WAIT_NS, rel=1e-6)
    assert figure.detail["launched"] == (
        "one by one with torch's events, behind a spinning kernel, because a graph was refused: " + NOT_PERMITTED
    )


@pytest.mark.parametrize(("step", "reason"), [("fork", ISOLATION), ("join", UNJOINED)])
def test_the_unused_streams_join_the_capture_and_are_waited_for(
    step: str, reason: str, measured: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(p2p._Chain, step, lambda chain: None)
    assert str(measured(SimulatedLink(LINK_NS, 5e3)).detail["launched"]).endswith(reason)


def test_bytes_that_do_not_arrive_are_a_wrong_result(measured: Any) -> None:
    assert measured(SimulatedLink(LINK_NS, 5e3, delivers=False)).check == Check(False, "what was sent", 1, 0.0)


def test_chains_whose_time_does_not_grow_give_no_figure(measured: Any) -> None:
    with pytest.raises(RuntimeError, match="24 transfers in a row took no longer than 8"):
        measured(SimulatedLink(0.0, 5e3))
