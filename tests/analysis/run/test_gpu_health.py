"""What cards told of themselves meanwhile: why clocks were reduced, heat, errors; nothing where nothing is told."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from engine_probe.analysis.run.gpu_health import Extent, gpu_health, reduced_spans
from engine_probe.record.schema import SCHEMAS

IDLE, POWER_CAP, HARDWARE_HEAT = 0x1, 0x4, 0x40


def samples(**columns: list[Any]) -> pa.Table:
    """Of card 0, one each millisecond."""
    count = len(next(iter(columns.values())))
    rows = [{name: values[number] for name, values in columns.items()} for number in range(count)]
    rows = [{"time_ns": number * 1_000_000, "device": 0} | row for number, row in enumerate(rows)]
    return pa.Table.from_pylist(rows, SCHEMAS["telemetry"])


def test_reasons_by_their_share_of_the_samples_that_tell() -> None:
    """Of four that tell, two had the power cap and one heat beside it; an idle card is not held back."""
    found = gpu_health([samples(throttle_reasons=[IDLE, POWER_CAP, None, POWER_CAP | HARDWARE_HEAT, 0])])
    assert (found.samples, found.judged) == (5, 4)
    assert found.reduced == {"SW power cap": 0.5, "HW thermal slowdown": 0.25}
    assert found.any_reduced == 0.5


def test_extents_and_states_leave_out_what_is_null() -> None:
    table = samples(temperature_c=[60, 70, None], power_mw=[200_000, None, 400_000], performance_state=[0, None, 2])
    found = gpu_health([table])
    assert found.temperature_c == Extent(60, 65, 70)
    assert found.power_w == Extent(200, 300, 400)
    assert found.states == (0, 2)
    assert found.sm_clock_mhz is None


@pytest.mark.parametrize(
    ("runs", "gained"), [([[7, None, 9]], 2), ([[7, 9], [20, 20]], 2), ([[7, 9], [20, None]], None), ([[None]], None)]
)
def test_errors_are_what_came_within_runs(runs: list[list[int | None]], gained: int | None) -> None:
    """What a counter gained between two runs is not theirs; with one reading nobody knows."""
    assert gpu_health([samples(ecc_errors=run) for run in runs]).ecc_errors == gained


def test_a_card_that_tells_nothing_is_not_called_well() -> None:
    found = gpu_health([samples(throttle_reasons=[None, None])])
    assert (found.any_reduced, found.reduced, found.temperature_c, found.ecc_errors) == (None, {}, None, None)


def test_stretches_have_the_gravest_reason() -> None:
    """From its first sample until the first one that says otherwise."""
    table = samples(throttle_reasons=[IDLE, POWER_CAP, POWER_CAP | HARDWARE_HEAT, 0, POWER_CAP])
    ms = 1_000_000
    assert list(reduced_spans(table)) == [(POWER_CAP, ms, 2 * ms), (HARDWARE_HEAT, 2 * ms, 3 * ms)]
