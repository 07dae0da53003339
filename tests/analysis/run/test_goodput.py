"""Goodput: which requests kept every limit, and what is known of those that were broken off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from engine_probe.analysis.run.goodput import Goodput, goodput, strains
from engine_probe.analysis.run.slo import Slo, read_goodput
from engine_probe.errors import InputError

MS = 1_000_000
Make = Callable[..., pa.Table]


def request(first: int | None, last: int | None, tokens: int, reason: str = "length", ended: int = 0) -> dict[str, Any]:
    """Arrived at 0; times in ms."""
    return {
        "arrival_ns": 0,
        "first_token_ns": None if first is None else first * MS,
        "last_token_ns": None if last is None else last * MS,
        "finished_ns": (ended or last or 0) * MS,
        "output_tokens": tokens,
        "finish_reason": reason,
    }


def test_a_request_is_good_if_it_keeps_every_limit(requests: Make) -> None:
    """TTFT, TPOT: 100, 20 | 100, 30 | 201, 20 | 200, 20 (exactly at the limit)."""
    rows = requests(request(100, 300, 11), request(100, 400, 11), request(201, 401, 11), request(200, 400, 11))
    found = goodput(rows, 2.0, Slo(ttft_ms=200, tpot_ms=25))
    assert (found.kept, found.judged, found.undecided) == (2, 4, 0)
    assert found.requests_per_s == 1.0
    assert found.share == 0.5
    assert found.met is False


def test_a_request_keeps_a_limit_if_all_its_sequences_do(requests: Make) -> None:
    """Two requests of two sequences and one of one: 150 and 250 ms | 150 and 160 ms | 150 ms, which was aborted."""
    firsts = {"0_one-0a1b2c3d": 150, "1_one-0a1b2c3d": 250, "0_two-0a1b2c3d": 150, "1_two-0a1b2c3d": 160}
    rows = [{**request(first, 400, 11), "request_id": name} for name, first in firsts.items()]
    rows.append({**request(150, None, 1, "abort", 300), "request_id": "three"})
    found = goodput(requests(*rows), 2.0, Slo(ttft_ms=200))
    assert (found.kept, found.judged, found.undecided) == (1, 2, 1)


def test_a_sequence_that_was_broken_off_leaves_its_request_undecided_unless_another_broke_a_limit(
    requests: Make,
) -> None:
    for first, undecided in ((150, 1), (250, 0)):
        rows = [
            {**request(first, 400, 11), "request_id": "0_one-0a1b2c3d"},
            {**request(150, None, 1, "abort", 190), "request_id": "1_one-0a1b2c3d"},
        ]
        assert goodput(requests(*rows), 2.0, Slo(ttft_ms=200)).undecided == undecided


def test_strain_is_the_tightest_figure_over_its_limit(requests: Make) -> None:
    rows = requests(request(100, 300, 11))
    assert strains(rows, Slo(ttft_ms=200, tpot_ms=40)).tolist() == [0.5]
    assert strains(rows, Slo(ttft_ms=200, tpot_ms=40, e2el_ms=100)).tolist() == [3.0]


def test_an_answer_of_one_token_breaks_no_limit_per_output_token(requests: Make) -> None:
    assert strains(requests(request(100, 100, 1)), Slo(tpot_ms=1)).tolist() == [0.0]


def test_what_was_broken_off_counts_as_far_as_it_is_known(requests: Make) -> None:
    """One waited 300 ms without a token, one had its token in time, one failed, one is of unknown arrival."""
    rows = requests(
        request(None, None, 0, "abort", ended=300),
        request(100, 150, 2, "abort", ended=300),
        request(100, 150, 2, "error", ended=300),
        request(100, 150, 2) | {"arrival_ns": None},
    )
    found = goodput(rows, 1.0, Slo(ttft_ms=200))
    assert (found.kept, found.judged, found.undecided) == (0, 2, 2)
    assert goodput(rows, 1.0, Slo(e2el_ms=250)).judged == 3  # the second was over that, too, when it was let go


def test_a_percentile_needs_requests_enough(requests: Make) -> None:
    slo = Slo(ttft_ms=100)
    ten = requests(*(request(10 * number, 200, 11) for number in range(1, 11)))
    assert goodput(ten, 1.0, slo).strain == pytest.approx(0.9)
    assert goodput(ten.slice(0, 9), 1.0, slo).strain is None


def test_no_request_meets_nothing_and_breaks_nothing(requests: Make) -> None:
    found = goodput(requests().schema.empty_table(), 1.0, Slo(ttft_ms=1))
    assert (found.share, found.met, found.requests_per_s) == (None, None, 0.0)


@pytest.mark.parametrize(("kept", "met"), [(90, True), (89, False)])
def test_ninety_in_a_hundred_is_enough(kept: int, met: bool) -> None:
    assert Goodput(Slo(ttft_ms=1), kept, 100, 0, 1.0, None).met is met


def test_the_words_of_vllm_are_read() -> None:
    assert read_goodput(["ttft:200", "tpot:30 e2el:1e3"]) == Slo(200, 30, 1000)
    assert read_goodput([]) is None
    assert str(Slo(200, None, 1000)) == "ttft:200 e2el:1000"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("itl:3", "the limits are ttft, tpot, e2el"),
        ("ttft", "nothing is not a limit"),
        ("ttft:-1", "-1 is not a limit"),
        ("ttft:nan", "nan is not a limit"),
        ("ttft:1 ttft:2", "limited twice"),
    ],
)
def test_a_wrong_limit_is_refused(words: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        read_goodput([words])
