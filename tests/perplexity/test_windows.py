"""A text is cut into windows; each token is scored once, and tokens that are not scored are counted."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from engine_probe.errors import InputError
from engine_probe.perplexity.perplexity_spec import Quality
from engine_probe.perplexity.text import checksum, cut, joined, read_text

TEN = list(range(100, 110))
BOS = 1


def test_without_overlap_the_first_token_of_each_window_is_given_and_not_scored() -> None:
    windows, unused = cut(TEN, Quality("t", window=4))
    assert [window.token_ids for window in windows] == [[100, 101, 102, 103], [104, 105, 106, 107]]
    assert [window.first_scored for window in windows] == [1, 1]
    assert unused == 2


def test_what_a_window_shares_with_the_one_before_is_seen_again_and_scored_once() -> None:
    windows, unused = cut(TEN, Quality("t", window=4, overlap=2))
    assert [window.token_ids[window.first_scored :] for window in windows] == [
        [101, 102, 103],
        [104, 105],
        [106, 107],
        [108, 109],
    ]
    assert unused == 0


def test_with_a_beginning_of_its_own_every_token_of_the_text_is_scored() -> None:
    windows, unused = cut(TEN, Quality("t", window=4, bos="window"), BOS)
    assert [window.token_ids for window in windows] == [
        [BOS, 100, 101, 102],
        [BOS, 103, 104, 105],
        [BOS, 106, 107, 108],
    ]
    assert sum(window.scored for window in windows) == 9
    assert unused == 1


def test_fewer_windows_leave_more_of_the_text_unused() -> None:
    windows, unused = cut(TEN, Quality("t", window=4, windows=1))
    assert len(windows) == 1
    assert unused == 6


@given(some.integers(2, 300), some.integers(2, 40), some.integers(0, 38), some.sampled_from(["tokenizer", "window"]))
def test_no_token_is_scored_twice(length: int, window: int, overlap: int, bos: str) -> None:
    asked = Quality("t", window=window, overlap=overlap, bos="window" if bos == "window" else "tokenizer")
    text = list(range(1000, 1000 + length))
    if asked.step < 1 or length < window:
        return
    windows, unused = cut(text, asked, BOS)
    scored = [token for one in windows for token in one.token_ids[one.first_scored :]]
    assert len(set(scored)) == len(scored)
    assert all(len(one.token_ids) == window for one in windows)
    seen = {token for one in windows for token in one.token_ids} - {BOS}
    assert len(seen) + unused == length


def test_the_checksum_tells_other_tokens_and_other_scoring_apart() -> None:
    said = {checksum(cut(TEN, Quality("t", window=4, overlap=overlap))[0]) for overlap in (0, 1, 2)} | {
        checksum(cut(TEN[1:], Quality("t", window=4))[0])
    }
    assert len(said) == 4
    assert checksum(cut(TEN, Quality("t", window=4))[0]) in said


def test_too_few_tokens_for_a_window_are_refused() -> None:
    with pytest.raises(InputError, match="t has 10 tokens, too few for one window of 11: give a longer text or a"):
        cut(TEN, Quality("t", window=11))


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (Quality("t", window=8, overlap=8), "quality.overlap is 8 and window 8: nothing new is left in a window"),
        (Quality("t", window=8, overlap=7, bos="window"), "nothing new is left"),
    ],
)
def test_a_window_without_anything_new_is_refused(asked: Quality, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        asked.check("quality.")


def test_lines_are_joined_as_published_tables_read_them() -> None:
    """Lines keep their ends, blank ones are emptied, and an empty line is between all."""
    assert joined(" = Title = \n \n One line . \n") == " = Title = \n\n\n\n\n One line . \n"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "there is no such file: give a text in UTF-8"),
        (b"", "is empty: give a text in UTF-8"),
        (b" \n\t\n", "is empty"),
        (b"\x7fELF\0\0\1", "is binary, not text"),
        ("naïve".encode("latin-1"), "is not UTF-8 at byte 2"),
        (b"short", "has 5 bytes, too few for one window of 64 tokens: give a longer text or a smaller window"),
    ],
)
def test_what_is_no_text_is_refused_in_one_sentence(tmp_path: Path, content: bytes | None, sentence: str) -> None:
    path = tmp_path / "text"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=sentence) as caught:
        read_text(Quality(str(path), window=64))
    assert "\n" not in str(caught.value)


def test_a_folder_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_text(Quality(str(tmp_path)))


def test_line_ends_of_other_systems_and_a_mark_at_the_beginning_are_no_part_of_the_text(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n")
    assert read_text(Quality(str(path), window=2)) == "one\ntwo\n"
