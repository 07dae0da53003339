"""The pool's demand follows from the lengths that a point draws: checked by counting by hand."""

from __future__ import annotations

import pytest

from engine_probe.sweep.definition.loader import read_sweep
from engine_probe.sweep.definition.sweep_file import EngineSection, Point, points
from engine_probe.sweep.definition.workload_section import WorkloadSection
from engine_probe.sweep.preflight.pool_demand import PoolDemand, most_blocks, peak_tokens, scheduled
from engine_probe.workload.arrivals import OpenLoop
from engine_probe.workload.lengths import Geometric, Uniform
from engine_probe.workload.prompts import Conversations, SharedPrefix


def point(work: WorkloadSection, **arguments: object) -> Point:
    return Point(EngineSection("tiny", arguments), work)


def test_requests_side_by_side_and_one_after_another() -> None:
    """Answers of 2, 4 and 3 tokens in two places: the third request begins when the first has ended."""
    held = PoolDemand(0, [(10, 2), (10, 4), (10, 3)], measured=3)
    spans = list(scheduled(held, slots=2))
    assert spans == [(0, 2, 10), (0, 4, 10), (2, 5, 10)]
    assert most_blocks(spans, last=5, block_size=1) == 14 + 12  # in step 3, the fourth token of one, the second of one
    assert most_blocks(spans, last=5, block_size=4) == 4 + 3
    assert most_blocks(spans, last=5, block_size=16) == 2


@pytest.mark.parametrize(
    ("work", "block", "tokens"),
    [
        (WorkloadSection(8, 24, 4), 1, 4 * 32),
        (WorkloadSection(8, 25, 4), 16, 4 * 48),
        (WorkloadSection(8, 24, 4, hold=True), 1, 4 * 32),
        (WorkloadSection(8, 24, 4, num_prompts=3), 1, 3 * 32),
        (WorkloadSection(None, 24, 4, prompts=SharedPrefix(100, 28)), 1, 100 + 4 * 52),
        (WorkloadSection(None, 24, 4, prompts=SharedPrefix(100, 28)), 16, 96 + 4 * 64),
        (WorkloadSection(None, 24, 4, prompts=SharedPrefix(100, 28, share=0)), 16, 4 * 160),
        (WorkloadSection(None, 24, 4, prompts=SharedPrefix(100, 28, num_prefixes=9)), 1, 4 * 100 + 4 * 52),
        (WorkloadSection(None, 24, 4, prompts=SharedPrefix(100, 28, share=0.5)), 1, None),
        (WorkloadSection(None, 24, 4, prompts=Conversations(2, 16)), 1, None),
        (WorkloadSection(8, 24, num_prompts=9, arrivals=OpenLoop(5)), 1, None),
        (WorkloadSection(8, 24, 4, num_prompts=100_001), 1, None),
    ],
)
def test_the_peak_is_counted_or_not_known(work: WorkloadSection, block: int, tokens: int | None) -> None:
    assert peak_tokens(point(work), block) == tokens


def test_the_engine_limits_what_runs_side_by_side_and_whether_prefixes_are_shared() -> None:
    assert peak_tokens(point(WorkloadSection(8, 24, 4), max_num_seqs=3)) == 3 * 32
    prefix = WorkloadSection(None, 24, 4, prompts=SharedPrefix(100, 28))
    assert peak_tokens(point(prefix, enable_prefix_caching=False)) == 4 * 152


def test_drawn_answers_need_less_than_their_longest() -> None:
    needed = peak_tokens(point(WorkloadSection(8, Uniform(1, 24), 400)))
    assert needed is not None
    # Of uniform lengths from 1 to 24, max over k of (8 + k) (1 - (k - 1) / 24) is 11.33 at k = 8 or 9.
    assert needed == pytest.approx(400 * 34 / 3, rel=0.05)
    geometric = peak_tokens(point(WorkloadSection(8, Geometric(1e9, 24), 400)))
    assert geometric == 400 * 32  # practically no answer ends by itself


@pytest.mark.parametrize(
    ("name", "tokens", "shares"),
    [
        ("gpt2_xl", 268_208, {200: 0.2, 400: 0.4, 600: 0.6, 1000: 1.0}),
        ("deepseek_7b", 141_808, {400: 0.9}),
        ("qwen_14b", 64_912, {120: 120 / 127.5, 130: 130 / 127.5}),
        ("falcon_40b", 18_688, {160: 160 / 200}),
    ],
)
def test_the_shipped_sweeps_ask_of_the_published_pools_what_was_published(
    name: str, tokens: int, shares: dict[int, float]
) -> None:
    for one in points(read_sweep(f"concurrency_{name}", [f"workload.concurrency={list(shares)}"])):
        needed = peak_tokens(one, 16)
        assert needed is not None
        assert needed / tokens == pytest.approx(shares[int(one.load)], rel=0.08)
