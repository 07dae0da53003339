"""Energy from telemetry: the card's counter where it has one, the area under its power otherwise, or nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from engine_probe.analysis.run.energy import Energy, energy
from engine_probe.record.schema import SCHEMAS

MS = 1_000_000
S = 1000 * MS
Make = Callable[..., pa.Table]


@pytest.fixture
def steps(iterations: Make) -> pa.Table:
    """A second: 100 steps of 10 ms."""
    return iterations(100)


def samples(*times_ms: float, device: int | None = 0, **columns: Callable[[float], int]) -> list[dict[str, Any]]:
    return [
        {"time_ns": int(at * MS), "device": device, **{name: value(at) for name, value in columns.items()}}
        for at in times_ms
    ]


def telemetry(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, SCHEMAS["telemetry"])


def recorded(
    *ranks: str, cards: tuple[str, ...] = ("GPU-a",), size: int | None = None, **of_card: Any
) -> dict[str, Any]:
    """What `run.json` holds: where each rank ran, and the UUIDs of the sampled cards in the order of their numbers."""
    return {
        "engine": {
            "arguments": {
                "parallel_config": {
                    "tensor_parallel_size": size or max(1, len(ranks)),
                    "pipeline_parallel_size": 1,
                    "data_parallel_size": 1,
                }
            }
        },
        "memory": [{"device": device} for device in ranks],
        "telemetry": {
            "devices": [{"device": number, "uuid": uuid, **of_card} for number, uuid in enumerate(cards)],
        },
    }


def found(steps: pa.Table, rows: list[dict[str, Any]], facts: dict[str, Any] | None = None) -> Energy:
    result = energy(facts or recorded(), steps, telemetry(rows))
    assert isinstance(result, Energy), result
    return result


def test_the_counter_is_read_at_both_ends_of_the_run(steps: pa.Table) -> None:
    """300 W are 300 mJ a millisecond; it was running long before. Power says something else and is not asked."""
    rows = samples(-50, 500, 1050, energy_mj=lambda at: int(10_000_000 + 300 * at), power_mw=lambda _: 1)
    result = found(steps, rows)
    assert result.watts == pytest.approx(300)
    assert result.gpus[0].joules == pytest.approx(300)
    assert result.sources == ("energy counter",)


def test_without_a_counter_power_is_summed_over_time(steps: pa.Table) -> None:
    """From 100 to 300 W evenly: 200 J."""
    result = found(steps, samples(0, 250, 500, 750, 1000, power_mw=lambda at: int(100_000 + 200 * at)))
    assert result.gpus[0].joules == pytest.approx(200)
    assert result.sources == ("power over time",)


def test_samples_that_come_at_uneven_times_count_for_their_time(steps: pa.Table) -> None:
    """100 W to 900 ms, then a rise to 300 W: 90 J and 20 J."""
    rows = samples(0, 100, 900, 1000, power_mw=lambda at: 300_000 if at == 1000 else 100_000)
    assert found(steps, rows).gpus[0].joules == pytest.approx(110)


@pytest.mark.parametrize("counter", [lambda _: 7, lambda at: int(-at)], ids=["stands still", "falls"])
def test_a_counter_that_does_not_count_is_not_believed(steps: pa.Table, counter: Callable[[float], int]) -> None:
    rows = samples(0, 500, 1000, energy_mj=counter, power_mw=lambda _: 250_000)
    assert found(steps, rows).sources == ("power over time",)


def test_cards_add_up_and_those_of_others_are_left_out(steps: pa.Table) -> None:
    def card(device: int, held: int) -> list[dict[str, Any]]:
        return samples(
            0, 1000, device=device, power_mw=lambda _: 100_000 * (device + 1), process_memory_bytes=lambda _: held
        )

    result = found(steps, [*card(0, 5), *card(1, 5), *card(2, 0)])
    assert result.watts == pytest.approx(300)
    assert result.notes == ("GPU 2 holds nothing of this engine and is left out",)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([], "no GPU was sampled"),
        (samples(0, 1000, device=None), "no GPU was sampled"),
        (samples(0, 1000, temperature_c=lambda _: 40), "GPU 0: it reports neither energy nor power"),
        (samples(0, 500, power_mw=lambda _: 1), "GPU 0: its samples cover less than 90% of the run"),
        (samples(500, power_mw=lambda _: 1), "GPU 0: its samples cover less than 90% of the run"),
    ],
)
def test_where_it_is_not_known_the_reason_is(steps: pa.Table, rows: list[dict[str, Any]], reason: str) -> None:
    assert energy(recorded(), steps, telemetry(rows)) == reason


@pytest.mark.parametrize("mig", ["mig_instance", "mig_split"])
def test_a_part_of_a_card_has_no_power_of_its_own(steps: pa.Table, mig: str) -> None:
    facts = recorded("GPU-a", cards=("MIG-a",), **{mig: True})
    reason = energy(facts, steps, telemetry(samples(0, 1000, power_mw=lambda _: 1)))
    assert reason == "GPU 0 is shared (MIG): its power is not this engine's alone"


def four_cards() -> list[dict[str, Any]]:
    """Cards of 100, 200, 300 and 400 W in a container: NVML lists no process of ours on any."""
    return [
        row
        for device in range(4)
        for row in samples(0, 1000, device=device, power_mw=lambda _, device=device: 100_000 * (device + 1))
    ]


CARDS = ("GPU-a", "GPU-b", "GPU-c", "GPU-d")


def test_in_a_container_the_ranks_own_cards_are_counted_by_their_uuids(steps: pa.Table) -> None:
    """Two ranks on the last and the second of four cards: 400 and 200 W."""
    result = found(steps, four_cards(), recorded("GPU-d", "GPU-b", cards=CARDS))
    assert [gpu.device for gpu in result.gpus] == [1, 3]
    assert result.watts == pytest.approx(600)
    assert result.notes == tuple(f"GPU {device} holds nothing of this engine and is left out" for device in (0, 2))


def test_the_ranks_uuids_outweigh_a_process_that_only_looked_at_a_card(steps: pa.Table) -> None:
    """A child of ours holds a context on card 0; the rank runs on card 1."""
    rows = [row | {"process_memory_bytes": 5 * (row["device"] == 0)} for row in four_cards()]
    assert found(steps, rows, recorded("GPU-b", cards=CARDS)).watts == pytest.approx(200)


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (recorded("cpu", cards=CARDS), "the engine runs on the CPU"),
        (recorded("GPU-a", "GPU-z", cards=CARDS), "GPU-z, on which a rank runs, was not sampled"),
        (
            recorded("GPU-a", size=2, cards=CARDS),
            "on which of the 4 sampled GPUs the engine's ranks run is not recorded",
        ),
        (recorded("GPU-unknown", cards=CARDS), "on which of the 4 sampled GPUs the engine's ranks run is not recorded"),
    ],
)
def test_where_the_ranks_cards_cannot_be_told_there_is_no_figure(
    steps: pa.Table, facts: dict[str, Any], reason: str
) -> None:
    result = energy(facts, steps, telemetry(four_cards()))
    assert isinstance(result, str)
    assert result.startswith(reason)


def test_without_uuids_a_card_for_each_rank_is_the_ranks(steps: pa.Table) -> None:
    assert found(steps, four_cards(), recorded(size=4, cards=CARDS)).watts == pytest.approx(1000)


@pytest.mark.parametrize(
    ("window", "notes"), [("average of the last second", 1), ("instantaneous", 0), ("not known", 0), (None, 0)]
)
def test_power_that_is_an_average_of_the_past_is_said(steps: pa.Table, window: str | None, notes: int) -> None:
    facts = recorded("GPU-a", power_window=window)
    rows = samples(0, 500, 1000, power_mw=lambda _: 250_000)
    assert len(found(steps, rows, facts).notes) == notes
    counted = samples(0, 500, 1000, power_mw=lambda _: 250_000, energy_mj=lambda at: int(250 * at))
    assert found(steps, counted, facts).notes == ()
