from __future__ import annotations

import pytest

from engine_probe.errors import InputError
from engine_probe.files.config_file import check_given_once


@pytest.mark.parametrize("second", ["workload.output_len=8", "axes.workload.output_len=[4, 8]"])
def test_a_key_with_two_values_is_refused(second: str) -> None:
    with pytest.raises(InputError, match=r"--set workload.output_len is given twice, as 4 and as (8|\[4, 8\]): leave"):
        check_given_once(["repeats=2", "workload.output_len=4", second])


def test_the_same_value_twice_is_no_contradiction() -> None:
    check_given_once(["repeats=2", "repeats=2", "workload.output_len=2"])
