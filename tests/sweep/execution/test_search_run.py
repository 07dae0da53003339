"""A search as a sweep runs it: each point waits for what came of the one before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine_probe.analysis.run.goodput import Goodput, WholeLimit
from engine_probe.analysis.run.slo import Slo
from engine_probe.errors import InputError
from engine_probe.sweep.definition.loader import read_sweep
from engine_probe.sweep.definition.search import Adaptive
from engine_probe.sweep.definition.sweep_file import EngineSection, Point
from engine_probe.sweep.definition.workload_section import WorkloadSection
from engine_probe.sweep.execution.folders import PointFolders
from engine_probe.sweep.execution.search_run import SearchRun
from tests.support.recordings.point_results import result

BASE = Point(EngineSection("tiny"), WorkloadSection(32, 64), curve={"max_num_seqs": 8})
SEARCH = Adaptive("workload.concurrency", 1, 64, resolution=0.2)


def rate(concurrency: int) -> float:
    """Saturates at 12."""
    return min(concurrency, 12) * 10 - max(0, concurrency - 12)


def test_it_ends_at_the_knee_and_names_its_points(tmp_path: Path) -> None:
    todo: list[Point] = []
    search = SearchRun(SEARCH, BASE, PointFolders(tmp_path), todo, repeats=1)
    while planned := search.next_point():
        level = planned.point.workload.max_in_flight
        assert planned.folder == tmp_path / "points" / f"max_num_seqs=8,concurrency={level}"
        search.record(result(level, rate(level), point=planned.point))
    assert search.found.best == 12
    assert search.name == "max_num_seqs 8"
    assert [point.label for point in todo][:3] == [f"max_num_seqs 8, concurrency {level}" for level in (1, 2, 4)]
    assert len(todo) <= 12


def test_a_point_that_fails_ends_the_search_with_its_reason(tmp_path: Path) -> None:
    todo: list[Point] = []
    search = SearchRun(SEARCH, BASE, PointFolders(tmp_path), todo, repeats=1)
    while planned := search.next_point():
        level = planned.point.workload.max_in_flight
        search.record(planned.failed("out of memory") if level == 4 else result(level, 10.0 * level))
    assert len(todo) == 3
    assert search.found.best is None
    assert search.problem == "max_num_seqs 8, concurrency 4: out of memory"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"axis": "engine.model"}, "a search varies the load"),
        ({"axis": "workload.concurency"}, "workload.concurency cannot vary"),
        ({"from": 9, "to": 3}, "to = 3 is below from = 9"),
        ({"goal": "slo"}, "adaptive.slo is missing"),
        ({"slop": 1}, "adaptive.slop is not known: did you mean slo?"),
    ],
)
def test_a_search_that_cannot_be_is_refused(tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    adaptive = {"axis": "workload.concurrency", "from": 1, "to": 8} | changes
    text = 'question = "?"\n[engine]\nmodel = "tiny"\n[workload]\ninput_len = 4\noutput_len = 4\n[adaptive]\n'
    lines = [f"{name} = {msgspec.json.encode(value).decode()}" for name, value in adaptive.items()]
    (tmp_path / "mine.toml").write_text(text + "\n".join(lines))
    with pytest.raises(InputError, match=sentence.replace("?", r"\?")):
        read_sweep(str(tmp_path / "mine.toml"))


PRICED = """question = "?"
[engine]
model = "tiny"
[workload]
input_len = 4
output_len = 4
[adaptive]
axis = "workload.concurrency"
from = 1
to = 8
goal = "slo"
[adaptive.slo]
"""


def test_prices_of_a_limit_are_kept_with_the_sweep(tmp_path: Path) -> None:
    """By path, by a shipped name or in the file itself; the result holds the list, so resuming needs no file."""
    (tmp_path / "prices.toml").write_text('currency = "EUR"\n[[fixed]]\nname = "all"\nper_hour = 3.6\n')
    (tmp_path / "mine.toml").write_text(
        PRICED + f'cost_per_1000_tokens = 0.002\nprices = "{tmp_path / "prices.toml"}"\n'
    )
    sweep = read_sweep(str(tmp_path / "mine.toml"))
    assert sweep.adaptive is not None
    assert sweep.adaptive.slo is not None
    assert sweep.adaptive.slo.price_list is not None
    assert sweep.adaptive.slo.price_list.fixed[0].per_hour == 3.6
    (tmp_path / "sweep.json").write_bytes(msgspec.json.encode({"sweep": sweep, "points": []}))
    (tmp_path / "prices.toml").unlink()
    assert read_sweep(str(tmp_path / "sweep.json")).adaptive == sweep.adaptive


@pytest.mark.parametrize(
    ("slo", "sentence"),
    [
        ("cost_per_1000_tokens = 0.002", "adaptive.slo.cost_per_1000_tokens needs prices: set adaptive.slo.prices"),
        ('joules_per_token = 1.0\nprices = "l4_or_l40s"', "adaptive.slo.prices is for limits on costs"),
        ('cost_per_1000_tokens = 1\nprices = "nowhere"', "adaptive.slo.prices: there is no price list 'nowhere'"),
        (
            'cost_per_1000_tokens = 1\nprices = { currency = "EUR", fixed = [{ name = "x" }] }',
            "adaptive.slo.prices: fixed[0]: give exactly one of per_hour",
        ),
        ("cost_per_1000_tokens = 0", "adaptive.slo.cost_per_1000_tokens is 0"),
    ],
)
def test_limits_on_costs_without_prices_are_refused_before_anything_starts(
    tmp_path: Path, slo: str, sentence: str
) -> None:
    (tmp_path / "mine.toml").write_text(PRICED + slo)
    with pytest.raises(InputError) as error:
        read_sweep(str(tmp_path / "mine.toml"))
    assert sentence in str(error.value)


def searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: float, slow: int) -> SearchRun:
    """A token costs 1 / throughput, which saturates at 12; latency is missed from `slow` on."""

    def judged(run: Any, slo: Slo) -> Goodput:
        cost = 1 / rate(run)
        whole = (WholeLimit("cost_per_1000_tokens", limit, cost),)
        return Goodput(slo, 100, 100, 0, 1.0, 0.5 if run < slow else 2.0, None, whole)

    todo: list[Point] = []
    levels: list[int] = []
    slo = Slo(ttft_ms=100, cost_per_1000_tokens=limit)
    adaptive = Adaptive("workload.concurrency", 1, 64, goal="slo", slo=slo, resolution=0.2)
    monkeypatch.setattr("engine_probe.sweep.execution.search_run.judged", judged)
    monkeypatch.setattr("engine_probe.sweep.execution.search_run.load", lambda _: levels[-1])
    search = SearchRun(adaptive, BASE, PointFolders(tmp_path), todo, repeats=1)
    while planned := search.next_point():
        levels.append(planned.point.workload.max_in_flight)
        search.record(result(levels[-1], 1.0, point=planned.point))
    return search


def test_loads_too_low_to_pay_do_not_end_a_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """50 tokens/s pay, from 5 on; latency is missed from 9 on."""
    search = searched(tmp_path, monkeypatch, limit=1 / 50, slow=9)
    assert search.found.best == 8
    assert search.problem is None


def test_a_search_whose_best_load_does_not_pay_finds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search = searched(tmp_path, monkeypatch, limit=1 / 100, slow=9)
    assert search.found.best is None
    assert search.problem == "up to 8, the highest load within the other limits, cost of 1,000 tokens <= 0.01 is missed"
