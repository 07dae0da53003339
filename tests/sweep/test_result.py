"""What a sweep says is counted in its recordings; what they do not show is not said."""

from __future__ import annotations

import io

import msgspec
import pytest
from rich.console import Console

from engine_probe.commands.sweep import exit_code
from engine_probe.sweep.result import PointResult, Row, Unmeasured, interpretation
from engine_probe.sweep.result_table import show_results
from engine_probe.sweep.screen import result_line
from tests.support.point_results import point, result

SPARE = result(4, 80)
FULL = result(16, 200)
SHARED = result(18, 190, kv_waits=3, preemptions=1, recomputed_tokens=50)
OVERLOAD = result(64, 150, kv_waits=30, preemptions=20, recomputed_tokens=240)

CUT = Unmeasured("point-8", point(8), "incomplete", "the probe stepped aside")


class TestKvPressure:
    @pytest.mark.parametrize(
        ("point", "pressure"), [(SPARE, "free"), (FULL, "free"), (SHARED, "waits"), (OVERLOAD, "recomputes")]
    )
    def test_follows_from_counts(self, point: PointResult, pressure: str) -> None:
        assert point.kv_pressure == pressure

    def test_a_tenth_computed_twice_recomputes(self) -> None:
        assert msgspec.structs.replace(SHARED, recomputed_tokens=99).kv_pressure == "waits"
        assert msgspec.structs.replace(SHARED, recomputed_tokens=100).kv_pressure == "recomputes"


class TestTheSentence:
    def test_it_tells_limit_cost_and_best(self) -> None:
        assert interpretation([SPARE, FULL, SHARED, OVERLOAD]) == (
            "The KV pool limits from 18 requests at once; preemption begins at 18, and at 64 requests 24% of the "
            "tokens were computed a second time; throughput is highest at 16 (200.0 tokens/s) and 25% lower at 64."
        )

    def test_the_order_of_the_points_does_not_matter(self) -> None:
        whole = [SPARE, FULL, SHARED, OVERLOAD]
        assert interpretation(whole[::-1]) == interpretation(whole)

    def test_without_pressure_it_says_how_far_the_pool_is_from_it(self) -> None:
        assert interpretation([SPARE, result(8, 120)]) == (
            "No request waited for KV blocks, of which at most 40% were in use; throughput is highest at 8 "
            "(120.0 tokens/s), the most that was tried."
        )

    def test_one_point_says_nothing_of_a_best(self) -> None:
        assert "highest" not in interpretation([SPARE])

    def test_each_curve_has_one_of_its_own(self) -> None:
        curves = [
            result(level, rate, point=point(level, f"max_num_seqs {most}, "))
            for most, level, rate in [(4, 1, 10), (4, 4, 30), (64, 1, 10), (64, 4, 40)]
        ]
        one, other = interpretation(curves).splitlines()
        assert one.startswith("max_num_seqs 4: No request waited")
        assert "highest at 4 (30.0 tokens/s)" in one
        assert other.startswith("max_num_seqs 64: ")
        assert "highest at 4 (40.0 tokens/s)" in other

    def test_without_points_there_is_none(self) -> None:
        assert interpretation([]) == ""


def test_the_table_fits_a_terminal_of_80_columns_and_names_what_is_incomplete() -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    show_results([SPARE, OVERLOAD, CUT], console)
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= 80
    rows = {line.split()[0]: line.split()[-1] for line in lines if line[:5].strip().isdigit()}
    assert result_line(CUT) == "8 at once: the probe stepped aside"
    assert rows == {"4": "free", "64": "24%", "8": "incomplete"}
    assert "region" not in "".join(lines).lower()  # two levels show none


def test_a_narrow_terminal_shows_fewer_columns_and_every_figure_in_full() -> None:
    console = Console(width=60, record=True, file=io.StringIO())
    show_results([result(4, 1481.2), result(16, 4741.0), result(64, 4800.5)], console)
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 60
    assert "…" not in text
    assert all(figure in text for figure in ("1481.2", "4741.0", "4800.5", "pressure"))
    assert "empted" not in text


def test_a_first_token_after_milliseconds_is_not_rounded_to_none() -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    show_results([result(4, 80, median_ttft_seconds=0.00318), result(8, 160, median_ttft_seconds=1.5)], console)
    text = console.export_text()
    assert "3.18 ms" in text
    assert "1.50 s" in text


def test_enough_levels_show_their_region_and_how_sure_it_is() -> None:
    """10 tokens/s per request up to 8, level up to 16, then at once a quarter less."""
    rates = {1: 10, 2: 20, 4: 40, 8: 80, 12: 100, 16: 120, 24: 90, 32: 90}
    points = [result(n, rate, kv_waits=n > 16, recomputed_tokens=200 * (n > 16)) for n, rate in rates.items()]
    console = Console(width=80, record=True, file=io.StringIO())
    show_results(points, console)
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= 80
    cells = {line.split()[0]: line.split()[-2:] for line in lines if line[:5].strip().isdigit()}
    assert cells == {str(n): ["A" if n <= 8 else "B" if n <= 16 else "C", "99%"] for n in rates}
    said = " ".join(" ".join(lines).split())
    assert "Growth ends at 16 requests at once (saturation point), and throughput falls behind it" in said


def test_repeats_of_a_level_are_one_row_and_how_far_apart_they_lie() -> None:
    """100 and 120 tokens/s lie 12.9 % off their mean: with two of them half the interval is 116 % (Student's t)."""
    repeats = [result(4, 80), result(4, 96), result(64, 100), result(64, 120, kv_waits=3)]
    failed = msgspec.structs.replace(CUT, point=point(64))
    console = Console(width=80, record=True, file=io.StringIO())
    show_results([*repeats, failed], console)
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= 80
    rows = [line.split() for line in lines if line[:5].strip().isdigit()]
    assert [(row[0], row[1]) for row in rows] == [("4", "88.0"), ("64", "110.0"), ("64", "-")]
    assert (rows[0][-1], rows[1][-2:], rows[2][-1]) == ("free", ["waits", "0%"], "incomplete")
    assert "± 39%" in lines[1]  # two levels agree on it: t of 2 degrees of freedom x 12.9 % / sqrt(2)
    assert "Each row is the mean of its repeats" in " ".join(lines)


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ([SPARE, FULL], 0),
        ([SPARE, CUT], 1),
        ([CUT], 1),
        ([msgspec.structs.replace(CUT, status="failed", exit_code=2)], 2),
        ([SPARE, msgspec.structs.replace(CUT, status="failed", exit_code=3)], 1),
    ],
)
def test_a_point_without_figures_ends_the_command_non_zero(rows: list[Row], code: int) -> None:
    assert exit_code(rows) == code
