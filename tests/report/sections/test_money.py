"""`engine_probe report --money`: prices are inputs, and unknown figures are reported as unknown."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from engine_probe.commands.report import command
from engine_probe.evaluation.money.price_list import read_prices
from engine_probe.evaluation.published.documents import read_document
from tests.support.recordings.run_folders import MS, facts, ran, write_run, write_sweep
from tests.support.recordings.small_tables import table
from tests.support.sweeps.cluster_sweeps import write_cluster_sweep
from tests.support.values import has_values, values

PRICES = """
currency = "EUR"
source = "made up"
[sold]
per_million_output_tokens = {price}
[[fixed]]
name = "all"
per_hour = 3.6
[users]
request_every_s = 40
"""


def report(*arguments: object) -> Result:
    return CliRunner().invoke(command, ["--verbose", *map(str, arguments)])


def said(*arguments: object) -> str:
    done = report(*arguments)
    assert done.exit_code in (0, 1), done.output or done.exception
    return re.sub(r"\s+", " ", done.output)


def refused(*arguments: object) -> str:
    done = report(*arguments)
    assert getattr(done.exception, "exit_code", None) == 2, done.output
    return str(done.exception)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """About 240 tokens/s at 1, 2,400 at 10."""
    return write_sweep(tmp_path_factory.mktemp("sweep"), (1, 2, 4, 8, 14))


def prices(folder: Path, text: str = PRICES, **values: object) -> Path:
    path = folder / "prices.toml"
    path.write_text(text.format(**{"price": 1.0} | values) if "{" in text else text)
    return path


def test_a_sweep_breaks_even_between_two_levels(sweep: Path, tmp_path: Path) -> None:
    """3.6 an hour at 1 a million are 1,000 tokens/s."""
    (crossing,) = break_even(sweep, prices(tmp_path))
    assert (crossing["below"], crossing["above"], crossing["into_profit"]) == (2, 4, True)


@pytest.mark.lengthy
@pytest.mark.parametrize(("price", "sentence"), [(0.01, "Loss at every level"), (100, "Profit at every level")])
def test_without_break_even_it_says_which_way(sweep: Path, tmp_path: Path, price: float, sentence: str) -> None:
    assert break_even(sweep, prices(tmp_path, price=price)) == []
    assert sentence in said(sweep, "--money", tmp_path / "prices.toml")


@pytest.mark.lengthy
@pytest.mark.parametrize(
    ("users", "habit"),
    [("request_every_s = 40", "who ask every 40 s"), ("think_s = 7", "who think for 7 s after each answer")],
)
def test_the_best_load_is_said_in_users(sweep: Path, tmp_path: Path, users: str, habit: str) -> None:
    money = prices(tmp_path, PRICES.replace("request_every_s = 40", users))
    sentence = rf"requests in flight and [\d,]+ users {habit} \(Little's law\)\."
    assert re.search(sentence, said(sweep, "--money", money))


def break_even(sweep: Path, money: Path) -> list[dict[str, Any]]:
    (curve,) = json.loads(report(sweep, "--money", money, "--json", "-").stdout)["money"]["curves"]
    crossings: list[dict[str, Any]] = curve["break_even"]
    return crossings


@pytest.mark.lengthy
def test_quick_flags_take_the_place_of_a_list(sweep: Path, tmp_path: Path) -> None:
    text = said(sweep, "--cost-per-hour", "3.6EUR", "--price-per-million", "1", "--html", tmp_path / "page.html")
    assert "Break-even at about" in text
    charts = drawn(tmp_path / "page.html")
    assert charts["Cost per million output tokens"]["y"][0]["unit"] == "EUR"
    regions = charts["Revenue, cost and profit"]["regions"]
    assert [region["label"] for region in regions] == ["A spare", "B shared", "C overload"]
    assert regions[0]["end"] == regions[1]["begin"]
    marks = charts["Revenue, cost and profit"]["marks"]
    assert [mark["label"] for mark in marks] == ["break-even", "highest profit"]
    assert "Energy per output token" not in charts  # no card, no energy


def drawn(page: Path) -> dict[str, Any]:
    (data,) = re.findall(r'<script id="charts" type="application/json">(.*?)</script>', page.read_text(), re.DOTALL)
    return {chart["title"]: chart for chart in json.loads(data)}


def test_a_single_level_is_a_row_without_a_chart(tmp_path: Path) -> None:
    text = said(write_sweep(tmp_path / "sweep", (4,)), "--cost-per-hour", 1, "--html", tmp_path / "page.html")
    assert "A million output tokens cost" in text
    assert "cheapest" not in text
    assert "Cost per million output tokens" not in drawn(tmp_path / "page.html")


def test_a_run_has_its_cost_and_the_energy_of_its_gpus(tmp_path: Path) -> None:
    """4 requests of 40 tokens; 200 W all the time."""
    tables = ran(4)
    end = tables["iterations"]["start_ns"].to_pylist()[-1] + 10 * MS
    rows = [{"time_ns": at, "device": 0, "power_mw": 200_000} for at in (0, end // 2, end)]
    folder = write_run(tmp_path / "run", tables | {"telemetry": table("telemetry", rows)})
    text = said(folder, "--cost-per-hour", "2USD")
    assert re.search(r"A million output tokens cost [\d.]+ USD", text)
    assert re.search(r"An output token took [\d.]+ J, the GPUs 200 W on average, by their power over time\.", text)
    assert "An output token took" in said(folder)  # energy needs no price


@pytest.mark.lengthy
def test_the_energy_of_a_token_over_the_load_is_the_planted_one(tmp_path: Path) -> None:
    """100 W and 10 W for each concurrent request; with 100 W of the host, at 0.36 per kWh."""
    folder = write_sweep(tmp_path / "sweep", (1, 2, 4, 8))
    for level in (1, 2, 4, 8):
        tables = ran(level)
        end = tables["iterations"]["start_ns"].to_pylist()[-1] + 10 * MS
        power = 100_000 + 10_000 * level
        counter = [(at, power * at // 10**9) for at in (0, 2 * end)]
        rows = [{"time_ns": at, "device": 0, "power_mw": power, "energy_mj": told} for at, told in counter]
        shutil.rmtree(folder / "points" / f"p{level}")
        write_run(folder / "points" / f"p{level}", tables | {"telemetry": table("telemetry", rows)})
    lists = 'currency = "EUR"\n[power]\nper_kwh = 0.36\nhost_watts = 100\n'
    figures, page = tmp_path / "figures.json", tmp_path / "page.html"
    said(folder, "--money", prices(tmp_path, lists), "--json", figures, "--html", page)
    document = json.loads(figures.read_text())
    (accounts,) = document["money"]["curves"]
    assert accounts["energy_from"] == ["energy counter"]
    for level, point in zip(accounts["levels"], document["points"], strict=True):
        summary, watts = point["summary"], 100 + 10 * level["load"]
        rate = summary["answer_tokens"] / summary["seconds"]
        assert level["figures"]["joules_per_output_token"]["mean"] == pytest.approx(watts / rate, rel=0.01)
        assert level["figures"]["cost_per_hour"]["mean"] == pytest.approx((watts + 100) / 1000 * 0.36, rel=0.01)
    assert drawn(page)["Energy per output token"]["y"][0]["unit"] == "J"


def test_the_energy_of_the_host_is_that_of_its_counter(tmp_path: Path) -> None:
    """200 W of a GPU and 50 W of the host at 4 per kWh: 1 an hour."""
    tables = ran(4)
    end = tables["iterations"]["start_ns"].to_pylist()[-1] + 10 * MS
    rows: list[dict[str, Any]] = []
    for at in (0, 2 * end):
        rows.append({"time_ns": at, "device": None, "energy_mj": 50_000 * at // 10**9})
        rows.append({"time_ns": at, "device": 0, "energy_mj": 200_000 * at // 10**9})
    folder = write_run(tmp_path / "run", tables | {"telemetry": table("telemetry", rows)})
    done = report(folder, "--money", prices(tmp_path, 'currency = "EUR"\n[power]\nper_kwh = 4\n'), "--json", "-")
    (curve,) = json.loads(done.stdout)["money"]["curves"]
    assert curve["levels"][0]["figures"]["cost_per_hour"]["mean"] == pytest.approx(1.0, rel=0.01)
    assert "power.host_watts takes its place" in curve["notes"][0]


def test_json_has_units_and_formulas(sweep: Path, tmp_path: Path) -> None:
    said(sweep, "--money", prices(tmp_path), "--goodput", "ttft:60", "--json", tmp_path / "figures.json")
    document = json.loads((tmp_path / "figures.json").read_text())
    assert document["metrics"]["cost_per_hour"]["unit"] == "EUR/h"
    (curve,) = document["curves"]
    assert [level["load"] for level in curve["levels"]] == [1, 2, 4, 8, 14]
    assert curve["levels"][0]["figures"]["goodput_share"]["mean"] == 1
    assert curve["most_load"]["most"] == 8
    (accounts,) = document["money"]["curves"]
    assert accounts["levels"][0]["figures"]["cost_per_hour"]["mean"] == 3.6
    assert accounts["break_even"][0]["into_profit"] is True
    assert "never overwritten" in str(report(sweep, "--json", tmp_path / "figures.json").exception)


@pytest.mark.lengthy
def test_a_second_gpu_is_compared_with_the_first(tmp_path: Path) -> None:
    """Two GPUs with the throughput of one never pay."""
    folder = write_sweep(tmp_path / "sweep", (1, 2, 4))
    document = json.loads((folder / "sweep.json").read_text())
    points = []
    for level in (1, 2, 4):
        for cards in (1, 2):
            told = facts()
            sizes = {"tensor_parallel_size": cards, "pipeline_parallel_size": 1, "data_parallel_size": 1}
            told["engine"]["arguments"] = {"parallel_config": sizes}
            write_run(folder / "points" / f"c{cards}-{level}", ran(level), told)
            asked = {"concurrency": level, "input_len": 48, "tensor_parallel_size": cards}
            points.append({"id": f"c{cards}-{level}", "point": asked, "status": "complete"})
    (folder / "sweep.json").write_text(json.dumps(document | {"points": points}))
    lists = 'currency = "EUR"\n[[fixed]]\nname = "card"\nper_hour = 2\nper_card = true\n'
    text = said(folder, "--money", prices(tmp_path, lists), "--html", tmp_path / "page.html")
    assert "Of 2 curves tokens are cheapest with tensor_parallel_size 1 at 4 concurrent requests" in text
    assert has_values(text, "2", "1", "1.00", "1")
    assert has_values(text, "2", "1", "2.00")
    assert "of as many small engines" in (tmp_path / "page.html").read_text()


def test_several_engines_at_once_cost_together(tmp_path: Path) -> None:
    """Two engines make twice the tokens of one, and each has a GPU of 2 an hour."""
    folder = write_cluster_sweep(tmp_path / "sweep", {1: (1.0,), 2: (1.0, 1.0)})
    lists = 'currency = "EUR"\n[[fixed]]\nname = "card"\nper_hour = 2\nper_card = true\n'
    done = report(folder, "--money", prices(tmp_path, lists), "--json", "-")
    curves = {curve["cards"]: curve["levels"][0]["figures"] for curve in json.loads(done.stdout)["money"]["curves"]}
    assert (curves[1]["cost_per_hour"]["mean"], curves[2]["cost_per_hour"]["mean"]) == (2, 4)
    tokens = [curves[cards]["cost_per_million_output_tokens"]["mean"] for cards in (1, 2)]
    assert tokens[0] == pytest.approx(tokens[1])
    assert "per engine" in said(folder, "--money", tmp_path / "prices.toml")


@pytest.mark.lengthy
def test_options_are_listed_or_measured(sweep: Path, tmp_path: Path) -> None:
    options = f"""
currency = "USD"
[[options]]
name = "mine"
per_month = 720
recording = "{sweep}"
[[options]]
name = "theirs"
per_month = 1153
requests_per_minute = 9000
[[options]]
name = "unknown"
per_month = 2000
"""
    text = said(sweep, "--money", prices(tmp_path, options), "--goodput", "ttft:60")
    basis = "at 8 concurrent requests: the highest that meets TTFT <= 60 ms"
    assert re.search(rf"mine 720 [\d,]+ [\d.]+ [\d.]+ measured in .*, {basis}", text)
    assert values(text.partition("mine is the cheapest")[2])[0] == "720"
    assert "unknown pays if one of it sustains more than" in text


@pytest.mark.lengthy
def test_the_shipped_lists_are_the_published_figures(sweep: Path) -> None:
    """By the rows of the document that they are from."""
    report_, cluster = read_document("l4_report"), read_document("l40s_x12")
    shipped = read_prices("l4_or_l40s")
    for option, key in zip(shipped.options, ("l4", "l4_batching", "l40s", "l40s_batching"), strict=True):
        capacity, latency = report_.stated(f"option_{key}"), report_.stated(f"option_{key}_latency")
        assert option.requests_per_minute == (capacity.low, capacity.high)
        assert option.per_month == report_.stated(f"option_{key}_price").value
        assert option.latency_s in (latency.value, (latency.low, latency.high))
    (rule,) = shipped.upgrade
    assert rule.above_requests_per_minute == report_.stated("upgrade_requests_per_min").low
    assert rule.from_users == report_.stated("upgrade_users").low
    assert rule.below_latency_s == report_.stated("upgrade_latency_s").high
    assert rule.not_below_requests_per_minute == report_.stated("stay_requests_per_min").high
    for option, key in zip(read_prices("l40s_or_h200").options, ("l40s", "h200") * 2, strict=True):
        price = cluster.stated(f"{key}_price")
        assert option.price == ((price.low, price.high) if price.high else price.low)
        assert option.watts == cluster.stated(f"{key}_power_w").value
    claimed = [option.claimed_cost_ratio for option in read_prices("l40s_or_h200").options]
    assert claimed == [None, cluster.stated("cost_ratio_7b").value, None, cluster.stated("cost_ratio_70b").value]
    text = said(sweep, "--money", "l4_or_l40s")
    assert shipped.source in text
    assert "L4 with batching is the cheapest" in text
    in_time = said(sweep, "--money", "l4_or_l40s", "--goodput", "e2el:7000")
    assert "L4 with batching is the cheapest" not in in_time  # 8 to 10 s
    assert "L40S with batching is the cheapest" in in_time


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "currency is missing"),
        ('currency = "EUR"\n[[fixed]]\nname = "x"\nper_hour = -1', "fixed[0].per_hour is -1, expected a number >= 0"),
        (
            'currency = "EUR"\n[[fixed]]\nname = "x"\nper_huor = 1',
            "fixed[0].per_huor is not known: did you mean",
        ),
        ('currency = "EUR"\n[[fixed]]\nname = "x"\nper_hour = nan', "per_hour is NaN"),
        ('currency = "EUR"\n[[fixed]]\nname = "x"\nper_hour = inf', "per_hour is inf"),
        ('currency = "EUR"\n[[fixed]]\nname = "x"', "fixed[0]: give exactly one of per_hour, per_month and price"),
        ('currency = "EUR"\n[[fixed]]\nname = "x"\nprice = 5', "give price and years together"),
        (
            'currency = "EUR"\n[[fixed]]\nname = "x"\nper_hour = 1\ncurrency = "USD"',
            "fixed[0].currency is USD and that of the list EUR",
        ),
        ('currency = "EUR"\n[power]\nper_kwh = 1\noverhead = 0.5', "power.overhead is 0.5"),
        ('currency = "EUR"\n[users]', "users: give either request_every_s or think_s"),
        ('currency = "EUR"\n[[options]]\nname = "x"', "options[0]: give exactly one of per_hour, per_month and price"),
        (
            'currency = "EUR"\n[[options]]\nname = "x"\nper_hour = 1\nrequests_per_minute = [5, 2]',
            "options[0]: requests_per_minute is [5, 2]: give the lower end first",
        ),
        (
            'currency = "EUR"\n[[options]]\nname = "x"\nper_hour = 1\nrequests_per_minute = [5]',
            "options[0].requests_per_minute is [5]",
        ),
        (
            'currency = "EUR"\n[[options]]\nname = "x"\nper_hour = 1\noutput_tokens_per_s = 5\nrecording = "y"',
            "options[0]: output_tokens_per_s and recording are both given",
        ),
        ('currency = "EUR"\n[[upgrade]]\nto = "x"\nfrom_users = 5', "upgrade[0].to is 'x': give the name of one"),
        ('currency = "EUR"\n[[upgrade]]\nto = "x"', "upgrade[0]: give a condition"),
        (
            'currency = "EUR"\n[[variable]]\nname = "x"\nper_gib = 1',
            "variable[0]: give per_gib together with bytes_per_request",
        ),
        ('currency = "EUR"\n[[variable]]\nname = "x"', "variable[0]: give exactly one of per_million_output_tokens"),
        ('currency = "EUR"\n[[burst]]\nname = "x"\nper_hour = 1', "burst[0]: give exactly one of above_concurrency"),
        (
            'currency = "EUR"\n[[fixed]]\nname = "x"\nprice = 5\nyears = 1\nresidual = 6',
            "fixed[0]: residual is 6: give it with a price, and at most that price",
        ),
        ('currency = "EUR"\n[[fixed]]\nname = "x"\nper_hour = 1\nshare = 2', "fixed[0].share is 2"),
        (
            'currency = "EUR"\n[sold]\nper_million_output_tokens = 1\nper_1000_output_tokens = 1',
            "sold: per_million_output_tokens and per_1000_output_tokens are both given",
        ),
        (
            'currency = "EUR"\n[[fixed]]\nname = "x"\nper_hour = 1\n[[fixed]]\nname = "x"\nper_hour = 1',
            "fixed: x is listed twice",
        ),
        ('currency = "EUR"\nsold = 3', "sold is 3"),
        ("currency = ", "is not valid TOML"),
    ],
)
def test_a_wrong_list_is_refused_in_one_sentence(sweep: Path, tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    found = refused(sweep, "--money", path)
    assert sentence in found
    assert str(path) in found


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--cost-per-hour", "-1"), "--cost-per-hour -1: give a sum that is not negative"),
        (("--cost-per-hour", "much"), "give a sum"),
        (("--cost-per-hour", "1EUR", "--price-per-million", "1USD"), "EUR and USD: put all into one currency"),
        (("--money", "nowhere"), "there is no price list 'nowhere'"),
    ],
)
def test_wrong_prices_are_refused(sweep: Path, words: tuple[str, ...], sentence: str) -> None:
    assert sentence in refused(sweep, *words)


def test_a_missing_recording_is_refused(sweep: Path, tmp_path: Path) -> None:
    options = 'currency = "USD"\n[[options]]\nname = "x"\nper_month = 1\nrecording = "gone"'
    assert "gone is not a folder" in refused(sweep, "--money", prices(tmp_path, options))


@pytest.mark.lengthy
def test_hostile_names_stay_text(sweep: Path, tmp_path: Path) -> None:
    name = "<img src=x onerror=alert(1)>\\u001b[2J"
    lists = (
        f'currency = "{name}"\nsource = "{name}"\n[[options]]\nname = "{name}"\nper_month = 1\nrequests_per_minute = 1'
    )
    done = report(sweep, "--money", prices(tmp_path, lists), "--html", tmp_path / "page.html")
    assert done.exit_code == 0, done.exception
    assert "\x1b" not in done.output
    assert "\\x1b[2J" in done.output
    page = (tmp_path / "page.html").read_text()
    assert "<img" not in page
    assert "\x1b" not in page
