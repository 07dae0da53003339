from __future__ import annotations

from typing import Any

import msgspec
import pytest

from engine_probe.engine.models.catalogue import catalogue_config
from engine_probe.engine.models.geometry import geometry
from engine_probe.engine.twin.kernels.derived_times import added, captured_sizes, derived_times
from engine_probe.engine.twin.kernels.measured_kernels import Kernels
from engine_probe.engine.twin.step_times import StepTimes
from engine_probe.engine.twin.step_work import StepWork
from engine_probe.errors import InputError
from kernels_bench.results import INVALID, MEASURED, Figure, Report, Result
from tests.support.recordings.hardware_reports import box, measured

MODEL = "llama-3.1-8b"
BATCH = (8192, 256)
S = 1e9


def report(*more: Figure, without: tuple[str, ...] = ()) -> Report:
    """A report of GPUs that are all alike: four of them, whose cuda:0 counts."""
    found = box()
    kept = [result for result in found.results if result.test not in ("allreduce", "p2p")]
    if not any(figure.test == "attention" for figure in more):
        more = (*more, measured("attention", "decode", "B/s", 3.5e12))
    kept += [Result(MEASURED, (), "cuda:0", figure) for figure in more]
    return msgspec.structs.replace(found, results=tuple(each for each in kept if each.test not in without))


def derived(found: Report, **arguments: Any) -> StepTimes:
    return derived_times(catalogue_config(MODEL), arguments, BATCH, Kernels.of(found, "kernels.json"), "kernels.json")


def reduced(tokens: int, ns: float, cards: int) -> Figure:
    detail = {"cards": cards, "buffer_bytes": tokens * 8192 * 2}
    figure = measured("allreduce", f"{tokens} tokens × 8192", "B/s", 1e11, **detail)
    return msgspec.structs.replace(figure, samples=msgspec.structs.replace(figure.samples, median_ns=ns))


def test_few_tokens_take_the_time_to_read_the_weights_at_the_rate_of_that_many_rows() -> None:
    times = derived(report())
    read = geometry(catalogue_config(MODEL)).linear_parameters * 2
    for tokens in (1, 16, 256):
        figure = next(
            each.figure
            for each in box().results
            if each.figure and each.device == "cuda:0" and each.name == f"bf16 decode M={tokens}"
        )
        assert dict(times.matrices)[tokens] == pytest.approx(read / figure.value * S)


def test_many_tokens_take_the_time_to_multiply_at_the_rate_of_the_shape_that_is_most_alike() -> None:
    times = derived(report())
    operations = 2 * geometry(catalogue_config(MODEL)).linear_parameters * 8192
    assert 7e14 < operations / dict(times.matrices)[8192.0] * S < 8e14
    assert [ns for _, ns in times.matrices] == sorted(ns for _, ns in times.matrices)


def test_attention_reads_the_cache_at_the_rate_of_decode_attention() -> None:
    attention = measured("attention", "decode", "B/s", 3e12)
    times = derived(report(attention))
    assert times.prices["answer attention"].ns == pytest.approx(128 * 1024 / 3e12 * S)


def test_every_term_names_its_formula_and_its_figures() -> None:
    sources = {source.part: source for source in derived(report()).sources}
    assert sources.keys() == {"matrix products", "vocabulary", "attention", "other operators"}
    assert "gemm bf16 decode M=1" in sources["matrix products"].figures
    assert "192 operators; launch in a graph 1900" in sources["other operators"].figures


def test_all_reduces_of_as_many_devices_are_in_the_time_of_tokens() -> None:
    rows = [reduced(1, 20e3, 2), reduced(8192, 900e3, 2), reduced(1, 1e9, 4)]
    split, apart = derived(report(*rows), tensor_parallel_size=2), derived(report())
    at_one = dict(split.matrices)[1.0] - dict(apart.matrices)[1.0] / 2
    assert at_one == pytest.approx(2 * 32 * 20e3, rel=0.01)  # of two tokens of 4,096, as large as one of 8,192
    assert "collectives" in {source.part for source in split.sources}


def test_without_them_a_ring_of_transfers_is_derived() -> None:
    rate = measured("p2p", "one way", "B/s", 2e11)
    near, far = (
        derived(report(rate, measured("p2p", "latency", "ns", latency)), tensor_parallel_size=2)
        for latency in (3000.0, 13_000.0)
    )
    reduces, token = 2 * 32, 4096 * 2
    assert far.prices["step"].ns - near.prices["step"].ns == pytest.approx(reduces * 2 * 10_000.0)
    assert near.prices["padding"].ns == pytest.approx(reduces * token / 2e11 * S)


def test_devices_between_which_nothing_was_measured_are_refused() -> None:
    with pytest.raises(InputError, match="tensor_parallel_size is 2, and it measured neither an all-reduce of 2"):
        derived(report(), tensor_parallel_size=2)


def test_stages_that_wait_for_one_another_are_refused() -> None:
    with pytest.raises(InputError, match="pipeline parallelism cannot be derived: use tensor parallelism"):
        derived(report(), pipeline_parallel_size=2)


@pytest.mark.parametrize(
    ("missing", "words"), [("memory", "the bandwidth of its memory"), ("attention", "the attention of answers")]
)
def test_a_report_that_lacks_a_term_is_refused(missing: str, words: str) -> None:
    with pytest.raises(InputError, match=f"kernels.json did not measure {words}, .* \\({missing} is missing\\)"):
        derived(report(without=(missing,)))


def test_invalid_figures_say_nothing() -> None:
    spoilt = tuple(
        msgspec.structs.replace(result, verdict=INVALID) if result.test == "attention" else result
        for result in report().results
    )
    with pytest.raises(InputError, match="attention is missing"):
        derived(msgspec.structs.replace(report(), results=spoilt))


def test_noisier_kernels_have_wider_intervals() -> None:
    calm, noisy = (derived(report(measured("attention", "decode", "B/s", 3e12, wide))) for wide in (0.01, 0.9))
    assert calm.error is not None
    assert noisy.error is not None
    assert noisy.error > calm.error > 0


def test_padded_tokens_are_computed() -> None:
    times = derived(report())
    five, eight = (times.ns(StepWork(tokens, 0, tokens, 0, 0)) for tokens in (5, 8))
    alone = derived(report(), enforce_eager=True)
    assert eight - five < 3 * times.prices["answer token"].ns + 2
    assert alone.graph_sizes == ()


@pytest.mark.parametrize(
    ("arguments", "batch", "first", "last", "number"),
    [
        ({}, (8192, 256), (1, 2, 4, 8, 16), 512, 51),
        ({}, (8192, 1024), (1, 2, 4, 8, 16), 512, 51),
        ({}, (8192, 20), (1, 2, 4, 8, 16, 20, 24, 32, 40), 40, 9),
        ({"compilation_config": {"cudagraph_capture_sizes": [4, 1, 64]}}, (32, 8), (1, 4), 4, 2),
    ],
)
def test_graphs_are_captured_for_the_sizes_that_vllm_chooses(
    arguments: dict[str, Any], batch: tuple[int, int], first: tuple[int, ...], last: int, number: int
) -> None:
    sizes = captured_sizes(arguments, batch)
    assert sizes[: len(first)] == first
    assert sizes[-1] == last
    assert len(sizes) == number


def test_tables_are_added_at_all_their_points() -> None:
    assert added([((1.0, 10.0), (3.0, 30.0)), ((2.0, 1.0), (4.0, 3.0))]) == ((1, 11), (2, 21), (3, 32), (4, 43))
