"""Names and figures as people read them."""

from __future__ import annotations

import pytest

from engine_probe.text_format import duration, model_name, rate_words


@pytest.mark.parametrize(("given", "shown"), [
    ("Qwen/Qwen3-8B", "Qwen/Qwen3-8B"),
    ("/srv/models/my-model/", "my-model"),
    ("/home/me/.cache/engine_probe/models/smollm2-0123456789ab", "smollm2"),
    ("/hub/models--Qwen--Qwen3-8B/snapshots/b968826d9c46dd6066d109eabc6255188de91218", "Qwen/Qwen3-8B"),
    ("/models--odd/snapshots", "snapshots"),
])  # fmt: skip
def test_a_model_has_no_path_and_no_digest_in_its_name(given: str, shown: str) -> None:
    assert model_name(given) == shown


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (None, "-"),
        (0, "0.00 µs"),
        (3, "3 ns"),
        (1_234, "1.23 µs"),
        (12_345_678, "12.3 ms"),
        (123_456_789, "123 ms"),
        (1.5e9, "1.50 s"),
    ],
)
def test_three_figures_and_a_unit(ns: float | None, text: str) -> None:
    assert duration(ns) == text


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        *((0.0, "0"), (0.012345, "0.0123"), (4.5678, "4.57"), (38.46, "38.5"), (372.34, "372.3")),
        *((2130.5, "2,130"), (12_345.6, "12,350"), (1_234_567.0, "1,235,000")),  # never as a power of ten
    ],
)
def test_a_rate_has_at_most_four_figures(rate: float, text: str) -> None:
    assert rate_words(rate) == text
