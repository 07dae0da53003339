"""Users and concurrent requests on the command line, in the published example and against each other."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from engine_probe.commands.users import command
from engine_probe.errors import InputError


def first_line(words: str) -> str:
    result = CliRunner().invoke(command, words.split())
    assert result.exit_code == 0, result.exception
    return result.output.splitlines()[0]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("100 --every 40 --answer 20", "100 users hold 50 requests in flight"),  # as published
        ("--concurrency 50 --every 40 --answer 20", "50 requests in flight are those of 100 users"),
        ("100 --think 20 --answer 20", "100 users hold 50 requests in flight"),
        ("100 --think 0 --answer 20", "100 users hold 100 requests in flight"),
        ("--concurrency 100 --every 10 --answer 20", "100 requests in flight are those of 100 users"),
    ],
)
def test_it_converts_both_ways(words: str, found: str) -> None:
    assert first_line(words).startswith(found)


def test_users_who_wait_longer_than_they_pause_are_pointed_out() -> None:
    result = CliRunner().invoke(command, ["100", "--every", "10", "--answer", "20"])
    assert "An answer takes longer than 10 s" in result.output


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--every 40 --answer 20", "either a number of users, or --concurrency"),
        ("100 --concurrency 5 --every 40 --answer 20", "either a number of users, or --concurrency"),
        ("100 --answer 20", "either --every or --think"),
        ("100 --every 4 --think 4 --answer 20", "either --every or --think"),
    ],
)
def test_what_is_missing_or_too_much_is_told(words: str, sentence: str) -> None:
    result = CliRunner().invoke(command, words.split())
    assert isinstance(result.exception, InputError)
    assert sentence in str(result.exception)


@pytest.mark.parametrize("words", ["0 --every 40 --answer 20", "100 --every 0 --answer 20", "100 --every 40"])
def test_impossible_numbers_are_refused(words: str) -> None:
    assert CliRunner().invoke(command, words.split()).exit_code != 0
