"""The unit of an axis of time."""

from engine_probe.report.charts.model import Axis, Lines, Series
from engine_probe.report.charts.time_units import in_seconds


def chart(*axes: Axis, values: list[float | None]) -> Lines:
    line = Series("p50", values, low=[1.0, 9000.0], high=[3.0, 15000.0], each=[[2.0], [11000.0, 13000.0]])
    return Lines("TTFT", "", Axis("load"), list(axes), [1.0, 2.0], [line])


def test_an_axis_that_reaches_ten_seconds_is_in_seconds() -> None:
    found = in_seconds(chart(Axis("TTFT", "ms"), values=[2.0, 12000.0]))
    (line,) = found.series
    assert found.y == [Axis("TTFT", "s")]
    assert (line.values, line.low, line.high) == ([0.002, 12.0], [0.001, 9.0], [0.003, 15.0])
    assert line.each == [[0.002], [11.0, 13.0]]


def test_other_axes_stay_as_they_are() -> None:
    for axis, values in (
        (Axis("TTFT", "ms"), [2.0, 9999.0]),
        (Axis("duration", "ms", log=True), [2.0, 12000.0]),
        (Axis("rate", "tokens/s"), [2.0, 12000.0]),
    ):
        found = chart(axis, values=list(values))
        assert in_seconds(found) == found
