"""`engine_probe prices`: a list to start from, and the options of one held against a demand."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import CliRunner, Result

from engine_probe.analysis.money.prices import SECTIONS
from engine_probe.commands.prices import command
from engine_probe.evaluation.money.price_list import STARTER, read_prices, shipped_names
from tests.support.recordings.run_folders import ran, write_run, write_sweep
from tests.support.values import has_values
from tools.reference_pages import price_reference


def prices(*words: object) -> Result:
    return CliRunner().invoke(command, list(map(str, words)))


def said(*words: object) -> str:
    done = prices(*words)
    assert done.exit_code == 0, done.output or done.exception
    return re.sub(r"\s+", " ", done.output)


def refused(*words: object) -> str:
    done = prices(*words)
    assert getattr(done.exception, "exit_code", None) == 2, done.output
    return str(done.exception)


def test_the_page_of_keys_is_up_to_date() -> None:
    """`make docs` writes it."""
    assert price_reference.PAGE.read_text(encoding="utf-8") == price_reference.page()


def test_the_starter_can_be_read_as_it_is_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    assert prices("--init", path).exit_code == 0
    assert read_prices(str(path)).fixed
    whole = re.sub(r"^#(?=[a-z[])", "", STARTER.read_text(), flags=re.MULTILINE)
    path.write_text(whole)
    found = read_prices(str(path))
    assert len(found.fixed) == 8  # the eight kinds of table 4.2
    document = tomllib.loads(whole)
    assert {place.removesuffix("[]") for place in SECTIONS} - {""} == {
        name for name, value in document.items() if isinstance(value, dict | list)
    }
    assert "never overwritten" in refused("--init", path)


def test_the_shipped_lists_say_where_they_are_from() -> None:
    assert shipped_names() == ["l40s_or_h200", "l4_or_l40s"]
    assert said("--list").count("not measured here") == 2


def test_a_demand_finds_the_cheapest_and_the_published_rule() -> None:
    text = said("l4_or_l40s", "--requests-per-minute", 25, "--latency", 8)
    assert has_values(text.partition("is the cheapest")[2], "1,153")
    assert has_values(text.partition("By this rule")[2], "40", "25", "20")
    text = said("l4_or_l40s", "--requests-per-minute", 8)
    assert "L4 with batching is the cheapest" in text
    assert "L40S is not needed" in text
    assert "no option is known to hold this" in said("l4_or_l40s", "--requests-per-minute", 8, "--latency", 1)


def test_the_rule_whose_own_option_is_too_slow_is_said_to_be() -> None:
    """Answers within 5 s are to be had on an L40S, which takes 5 to 7 s."""
    assert "does not reach what the rule promises" in said("l4_or_l40s", "--requests-per-minute", 25, "--latency", 4.9)


def test_a_published_ratio_that_does_not_follow_is_a_doubt() -> None:
    """(400,000 / 64,000) / (60,000 to 80,000 / 54,000) are 4.22 to 5.62 and not 0.4; 70B likewise and not 0.15."""
    text = said("l40s_or_h200")
    assert text.count("does not follow from the prices and rates") == 2
    assert has_values(text, "4.22", "5.62")
    assert has_values(text, "3.67", "4.89")


def test_users_are_a_demand_if_the_list_says_how_often_one_asks(tmp_path: Path) -> None:
    """20 users, one request each 40 s: 30 a minute."""
    path = tmp_path / "mine.toml"
    path.write_text(
        'currency = "EUR"\n[users]\nrequest_every_s = 40\n'
        '[[options]]\nname = "a"\nper_month = 100\nrequests_per_minute = 10\n'
    )
    assert "30 requests/min: 3 × a is the cheapest" in said(path, "--users", 20)


@pytest.mark.lengthy
def test_a_measured_option_has_the_rate_of_its_recording(tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path / "sweep", (1, 2, 4, 8, 14))
    path = tmp_path / "mine.toml"
    path.write_text(f'currency = "EUR"\n[[options]]\nname = "mine"\nper_month = 100\nrecording = "{sweep}"\n')
    text = said(path, "--requests-per-minute", 1000, "--html", tmp_path / "page.html")
    assert "mine is the cheapest" in text
    assert "measured in" in text
    assert "Options by demand" in (tmp_path / "page.html").read_text()
    assert "no level of" in said(path, "--requests-per-minute", 1000, "--latency", 0.001)


def test_a_recording_without_an_answer_sustains_no_rate(tmp_path: Path) -> None:
    """Its rate is zero, by which no price can be divided."""
    tables = ran(1)
    place = tables["requests"].schema.get_field_index("finish_reason")
    column = pa.array(["abort"] * tables["requests"].num_rows)
    requests = tables["requests"].set_column(place, tables["requests"].schema.field(place), column)
    run = write_run(tmp_path / "run", tables | {"requests": requests})
    path = tmp_path / "mine.toml"
    path.write_text(f'currency = "EUR"\n[[options]]\nname = "mine"\nper_month = 100\nrecording = "{run}"\n')
    assert "holds no answered request" in said(path, "--requests-per-minute", 1000)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "no price list is named"),
        (("nowhere",), "there is no price list 'nowhere'"),
        (("--init", "new.toml", "l4_or_l40s"), "leave l4_or_l40s out"),
        (("l40s_or_h200", "--latency", "3"), "--latency 3 needs a rate"),
    ],
)
def test_what_makes_no_sense_is_refused(
    words: tuple[str, ...], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert sentence in refused(*words)


def test_a_list_without_options_has_nothing_to_compare(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('currency = "EUR"')
    assert "has no options" in refused(path)
