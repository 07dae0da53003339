"""Answers of two runs are paired by prompt, and only if the prompts are the same."""

import pyarrow as pa

from engine_probe.analysis.answers.integrity.aligned_answers import aligned, answers
from tests.support.answers.simulated_answers import SCHEMA


def rows(*given: dict[str, object]) -> pa.Table:
    blank = {"request_id": "r", "prompt_id": "0", "prompt_crc32": 1, "outcome": "answered"}
    return pa.Table.from_pylist([blank | row for row in given], SCHEMA)


def test_answers_are_paired_by_prompt_in_any_order() -> None:
    reference = rows({"request_id": "a", "prompt_id": "0"}, {"request_id": "b", "prompt_id": "1"})
    other = rows({"request_id": "c", "prompt_id": "1"}, {"request_id": "d", "prompt_id": "0"})
    found = aligned(reference, other)
    assert [(pair.reference.request_id, pair.other.request_id) for pair in found.pairs] == [("b", "c"), ("a", "d")]


def test_the_second_request_with_a_prompt_goes_with_the_second() -> None:
    reference = rows({"request_id": "a"}, {"request_id": "b"})
    other = rows({"request_id": "c"}, {"request_id": "d"}, {"request_id": "e"})
    found = aligned(reference, other)
    assert [(pair.reference.request_id, pair.other.request_id) for pair in found.pairs] == [("a", "c"), ("b", "d")]
    assert found.further == 1


def test_prompts_with_other_tokens_are_not_compared_but_counted() -> None:
    found = aligned(rows({"prompt_crc32": 1}), rows({"prompt_crc32": 2}))
    assert (found.pairs, found.other_prompts) == ((), 1)


def test_requests_that_a_run_lacks_are_counted() -> None:
    found = aligned(rows({"prompt_id": "0"}, {"prompt_id": "1"}), rows({"prompt_id": "1"}))
    assert (len(found.pairs), found.missing) == (1, 1)


def test_requests_that_only_held_the_load_do_not_count() -> None:
    found = aligned(rows({"prompt_id": "further-3"}), rows({"prompt_id": "further-3"}))
    assert (found.pairs, found.missing, found.further) == ((), 0, 0)


def test_the_first_difference_is_the_first_other_token_or_the_end_of_the_shorter_answer() -> None:
    reference = rows(
        {"prompt_id": "0", "token_ids": [1, 2, 3]},
        {"prompt_id": "1", "token_ids": [1, 2, 3]},
        {"prompt_id": "2", "token_ids": [1, 2, 3]},
        {"prompt_id": "3"},
    )
    other = rows(
        {"prompt_id": "0", "token_ids": [1, 9, 3]},
        {"prompt_id": "1", "token_ids": [1, 2]},
        {"prompt_id": "2", "token_ids": [1, 2, 3]},
        {"prompt_id": "3", "token_ids": [1]},
    )
    pairs = aligned(reference, other).pairs
    assert [pair.first_difference for pair in pairs] == [1, 2, None, None]
    assert [pair.common for pair in pairs] == [1, 2, 3, 0]


def test_log_probabilities_count_only_if_every_token_has_them() -> None:
    whole = {
        "token_ids": [1, 2],
        "logprobs": [-0.5, -1.0],
        "second_token_ids": [3, 4],
        "second_logprobs": [-1.5, -1.25],
    }
    part = whole | {"logprobs": [-0.5]}
    with_them, without = answers(rows(whole, part))
    assert with_them.logprobs is not None
    assert with_them.logprobs.margins.tolist() == [1.0, 0.25]
    assert without.logprobs is None


def test_an_empty_table_has_no_answers() -> None:
    assert list(answers(SCHEMA.empty_table())) == []
