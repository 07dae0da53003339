"""Word perplexity: documents, their words, and rolling windows that score each token once."""

from __future__ import annotations

import math
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from engine_probe.analysis.compare.perplexity import perplexity
from engine_probe.errors import InputError
from engine_probe.perplexity.perplexity_spec import Quality
from engine_probe.perplexity.scoring import by_document
from engine_probe.perplexity.word_perplexity import as_written, count_words, documents, rolling

ONE = " = One = \n \n A well @-@ known text , with 1 @,@ 000 words . \n = = A part = = \n \n More . \n"
TWO = " = Two = \n \n End \n"
PREFIX = 7


def test_a_page_is_a_document_from_one_heading_of_the_first_level_to_the_next() -> None:
    first, second = documents(" \n" + ONE + TWO)
    assert first.text == " = One =\n\nA well-known text, with 1,000 words.\n== A part ==\n\nMore.\n"
    assert second.text == " = Two =\n\nEnd\n"


def test_words_are_those_of_the_file_and_not_of_the_text_as_written() -> None:
    (document,) = documents(TWO)
    assert document.words == count_words(TWO) == len(["", "=", "Two", "=", "End", ""])


def test_a_text_without_headings_is_one_document_as_it_is() -> None:
    assert documents("a , b\nc") == [("a , b\nc", 4)]


@pytest.mark.parametrize(
    ("tokenized", "written"),
    [
        ("a @-@ b @,@ c @.@ d", "a-b,c.d"),
        ("one ; two : three . four ! five ? six , seven", "one; two: three. four! five? six, seven"),
        ("( in ) [ in ] { in } \" in \" ' in '", "(in) [in] {in} \"in\" 'in'"),
        (" = = = Deep = = = \n next", " === Deep ===\nnext"),
        ("5 ° C of N and it 's", "5°C of 1 and it's"),
    ],
)
def test_the_spaces_of_wikitext_are_undone(tokenized: str, written: str) -> None:
    assert as_written(tokenized) == written


def test_rolling_windows_begin_with_the_last_token_scored_and_the_last_reaches_back() -> None:
    windows = list(rolling([1, 2, 3, 4, 5], PREFIX, 4))
    assert windows == [([PREFIX, 1, 2, 3], 1), ([2, 3, 4, 5], 2)]


def test_a_short_document_is_one_short_window() -> None:
    assert list(rolling([1, 2], PREFIX, 4)) == [([PREFIX, 1, 2], 1)]


@given(some.integers(1, 60), some.integers(2, 12))
def test_every_token_is_scored_once_and_in_order(length: int, size: int) -> None:
    text = list(range(100, 100 + length))
    windows = list(rolling(text, PREFIX, size))
    assert [token for window in windows for token in window.token_ids[window.first_scored :]] == text
    assert max(len(window.token_ids) for window in windows) <= size
    assert all(after.token_ids[0] in (PREFIX, *text) for _, after in pairwise(windows))


def test_perplexity_per_word_divides_the_same_sum_by_words() -> None:
    found = perplexity([6.0, 2.0], [4, 2])
    assert found is not None
    assert found.per_word(4) == pytest.approx(math.exp(8 / 4))
    assert found.value == pytest.approx(math.exp(8 / 6))


@pytest.mark.parametrize("given", [{"overlap": 2}, {"windows": 3}, {"lines": "joined"}, {"bos": "window"}])
def test_what_cuts_a_text_otherwise_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f'quality.{next(iter(given))} is given, and per = "word"'):
        Quality("t", window=8, per="word", **given).check("quality.")


def engine(bos: int | None, eos: int | None) -> Any:
    """An engine with a tokenizer that has a token for each character, and none added."""

    def encode(text: str, add_special_tokens: bool) -> list[int]:
        assert not add_special_tokens
        return [ord(character) for character in text]

    tokenizer = SimpleNamespace(bos_token_id=bos, eos_token_id=eos, encode=encode)
    config = SimpleNamespace(skip_tokenizer_init=False)
    return SimpleNamespace(llm_engine=SimpleNamespace(model_config=config), get_tokenizer=lambda: tokenizer)


@pytest.mark.parametrize(("bos", "eos", "prefix"), [(1, 2, 1), (None, 2, 2)])
def test_the_first_token_of_each_document_is_predicted_after_bos_or_else_eos(
    bos: int | None, eos: int | None, prefix: int
) -> None:
    pieces = by_document(engine(bos, eos), Quality("t", window=4096, per="word"), ONE + TWO)
    assert [window.token_ids[0] for window in pieces.windows] == [prefix, prefix]
    assert [window.scored for window in pieces.windows] == [len(each.text) for each in documents(ONE + TWO)]
    assert (pieces.documents, pieces.unused_tokens) == (2, 0)
    assert pieces.words == count_words(ONE) + count_words(TWO)


def test_a_tokenizer_without_either_is_refused() -> None:
    with pytest.raises(InputError, match="this tokenizer has neither"):
        by_document(engine(None, None), Quality("t", window=8, per="word"), "text")


# What lm_eval 0.4.13 makes of two pages: wikitext_detokenizer and process_results of its task wikitext,
# get_rolling_token_windows and make_disjoint_window (a context length of 1) of its utils, weighted_perplexity of its
# metrics.
PAGES = (
    ' = Robert " Bob " Boulter = \n \n Robert Boulter is an English film , television and theatre actor . He had a '
    "guest @-@ starring role on the series The Bill in 2000 ; this was followed by a role in the play Herons ( written "
    "by Simon Stephens ) , which was performed in 2001 at the Royal Court Theatre . \n \n = = Career = = \n \n = = = "
    "2000 – 2005 = = = \n \n It cost $ 1 @,@ 250 @.@ 50 , at 20 ° C : \" Craig \" ' s actors ' fees [ see below ] were "
    "N % ; what 's more ? \n",
    " = Du Fu = \n \n Du Fu was a poet ! \n",
)
LM_EVAL_TEXTS = (
    ' = Robert "Bob" Boulter =\n\nRobert Boulter is an English film, television and theatre actor. He had a '
    "guest-starring role on the series The Bill in 2000; this was followed by a role in the play Herons (written by "
    "Simon Stephens), which was performed in 2001 at the Royal Court Theatre.\n\n== Career ==\n\n=== 2000 – 2005 ===\n"
    "\nIt cost $ 1,250.50, at 20°C: \"Craig\"'s actors' fees [see below] were 1 %; what's more?\n",
    " = Du Fu =\n\nDu Fu was a poet!\n",
)
LM_EVAL_WORDS = (112, 12)


def test_pages_have_the_text_and_the_words_that_lm_eval_gives_them() -> None:
    found = documents("".join(PAGES))
    assert tuple(document.text for document in found) == LM_EVAL_TEXTS
    assert tuple(document.words for document in found) == LM_EVAL_WORDS


@pytest.mark.parametrize(
    ("length", "most", "windows", "last"),
    [
        (10, 4, [(1, 4), (1, 4), (3, 2)], [105, 106, 107, 108, 109]),
        (4, 4, [(1, 4)], [0, 100, 101, 102, 103]),
        (9, 4, [(1, 4), (1, 4), (4, 1)], [104, 105, 106, 107, 108]),
        (1, 4, [(1, 1)], [0, 100]),
        (23, 7, [(1, 7), (1, 7), (1, 7), (6, 2)], [115, 116, 117, 118, 119, 120, 121, 122]),
    ],
)
def test_windows_are_those_of_lm_eval(length: int, most: int, windows: list[tuple[int, int]], last: list[int]) -> None:
    """Tokens of context and tokens scored in each; lm_eval's `max_seq_len` leaves out the token before the first."""
    found = list(rolling(range(100, 100 + length), 0, most + 1))
    assert [(each.first_scored, len(each.token_ids) - each.first_scored) for each in found] == windows
    assert found[-1].token_ids == last


def test_sums_are_divided_by_words_as_lm_eval_divides_them() -> None:
    """Its weighted_perplexity of (-40.0, 10) and (-30.0, 7): exp(70 / 17)."""
    found = perplexity([40.0, 30.0], [12, 9])
    assert found is not None
    assert found.per_word(10 + 7) == pytest.approx(61.414567261145805, rel=1e-12)
