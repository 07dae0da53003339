"""The lengths of the shipped concurrency sweeps are those that the published occupancy gives."""

from __future__ import annotations

import pytest

from engine_probe.sweep.definition.loader import read_sweep
from engine_probe.workload.lengths import Geometric
from tools.shipped_data import answer_lengths
from tools.shipped_data.answer_lengths import KINDS, MOST, POOLS, geometric, held, peak, solved

FILES = {"gpt2-xl": "gpt2_xl", "deepseek-llm-7b-chat": "deepseek_7b", "qwen1.5-14b-chat": "qwen_14b"}


def test_a_request_holds_whole_blocks_of_what_is_stored() -> None:
    assert [held(128, k) for k in (1, 2, 17, 18)] == [128, 144, 144, 160]


def test_the_peak_of_a_fixed_length_is_its_end() -> None:
    assert peak(KINDS["fixed"][0](512), 128) == held(128, 512) == 640
    assert peak(KINDS["fixed"][0](1), 128) == 128


@pytest.mark.parametrize("pool", POOLS, ids=lambda pool: pool.model)
def test_the_solved_mean_gives_the_published_peak(pool: answer_lengths.Pool) -> None:
    wanted = pool.tokens / pool.filled_at
    mean = solved(geometric, 1e6, 16, wanted)
    assert mean is not None
    assert peak(geometric(mean), 16) == pytest.approx(wanted, rel=1e-6)
    sweep = read_sweep(f"concurrency_{FILES.get(pool.model, 'falcon_40b')}")
    assert isinstance(sweep.workload.output_len, Geometric)
    assert sweep.workload.output_len.high == MOST
    assert sweep.workload.output_len.mean == pytest.approx(mean, rel=0.005)


def test_no_answers_make_different_prompts_of_the_largest_model_fit() -> None:
    falcon = POOLS[-1]
    for make, _, most in KINDS.values():
        assert solved(make, most, 128, falcon.tokens / falcon.filled_at) is None


@pytest.mark.lengthy
def test_the_table_names_every_model_and_kind(capsys: pytest.CaptureFixture[str]) -> None:
    assert answer_lengths.main() == 0
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert len(rows) == 1 + len(POOLS) * 2 * len(KINDS)
