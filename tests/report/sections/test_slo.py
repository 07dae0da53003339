"""Latency limits in reports, comparisons and sweeps: who met them, up to which load, and what to measure next."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from engine_probe.analysis.run.goodput import Goodput
from engine_probe.analysis.run.slo import Slo
from engine_probe.commands.compare import command as compare
from engine_probe.commands.report import command as report
from engine_probe.errors import InputError
from engine_probe.report.sections.run.verdict import goodput_line
from engine_probe.sweep.definition.loader import read_sweep
from engine_probe.sweep.definition.sweep_file import points
from engine_probe.sweep.execution.resume import check_grid
from tests.support.recordings.run_folders import ran, write_run, write_sweep
from tests.support.values import values

OFFERED = r"engine_probe (sweep --resume .*? --set '.*?')"


def said(*arguments: object, command: Any = report) -> str:
    done: Result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    assert done.exit_code in (0, 1, 4), done.output
    return re.sub(r"\s+", " ", done.output)


def figures(*arguments: object) -> Any:
    done = CliRunner().invoke(report, [*map(str, arguments), "--json", "-"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prompts of 48 tokens are prefilled ten in a step: from 11 requests on the last wait a step longer."""
    folder = write_sweep(tmp_path_factory.mktemp("sweep"), (1, 2, 4, 8, 14, 20))
    path = folder / "sweep.json"
    document = json.loads(path.read_text())
    document["sweep"]["axes"] = {"workload.concurrency": [1, 2, 4, 8, 14, 20]}
    path.write_text(json.dumps(document))
    return folder


def test_a_run_counts_the_requests_that_met_the_limits(tmp_path: Path) -> None:
    """A prefill of ten prompts takes 50 ms; of 20 requests ten have their first token by then."""
    run = write_run(tmp_path / "run", ran(20))
    goodput = figures(run, "--goodput", "ttft:60", "e2el:100000")["summary"]["goodput"]
    assert (goodput["kept"], goodput["judged"]) == (10, 20)
    assert values(said(run, "--goodput", "ttft:60").partition("Goodput")[2])[1:4] == ["10", "20", "50.0%"]


def test_no_request_could_be_judged() -> None:
    found = Goodput(Slo(ttft_ms=60), kept=0, judged=0, undecided=3, seconds=1.0, strain=None)
    assert goodput_line(found) == "Goodput with TTFT <= 60 ms: no request could be judged."


def test_without_limits_there_is_no_goodput(tmp_path: Path) -> None:
    assert "goodput" not in said(write_run(tmp_path / "run", ran(2))).lower()


@pytest.mark.lengthy
@pytest.mark.parametrize(
    ("limits", "most", "beyond"),
    [
        (("ttft:60",), 8, 14),
        (("ttft:60", "--goodput-percentile", "70"), 14, 20),  # at 14 ten of 14 have their first token in time: 71 %
        (("ttft:1",), None, 1),
    ],
)
def test_a_sweep_finds_the_highest_load_that_meets_them(
    sweep: Path, limits: tuple[str, ...], most: float | None, beyond: float
) -> None:
    (curve,) = figures(sweep, "--goodput", *limits)["curves"]
    assert (curve["most_load"]["most"], curve["most_load"]["beyond"]) == (most, beyond)


@pytest.mark.lengthy
def test_limits_that_no_load_meets(sweep: Path) -> None:
    sentence = (
        r"At no load measured do 90% of the requests meet TTFT <= 1 ms: at 1 concurrent requests?, 0\.0% meet it\."
    )
    assert re.search(sentence, said(sweep, "--goodput", "ttft:1"))


@pytest.mark.lengthy
def test_the_offer_is_a_command_that_keeps_measured_levels(sweep: Path) -> None:
    """The made document has no workload, so only the axis is looked at."""
    (told,) = re.findall(OFFERED, said(sweep, "--goodput", "ttft:60", "--verbose"))
    *_, folder, _, setting = shlex.split(told)
    axis, _, values = setting.partition("=")
    assert (Path(folder), axis) == (sweep, "workload.concurrency")
    assert {1, 2, 4, 8, 14, 20} < set(json.loads(values))
    assert any(8 < level < 14 for level in json.loads(values))


@pytest.mark.lengthy
def test_the_offered_command_is_accepted_when_resuming(sweep: Path, tmp_path: Path) -> None:
    """Every level of a real sweep file is in it, so nothing that is finished would be lost."""
    asked = read_sweep("smoke", ["workload.concurrency=[1,2,4,8,14,20]"])
    rows = [{"id": point.key, "status": "complete", "point": point} for point in points(asked)]
    (tmp_path / "sweep.json").write_bytes(msgspec.json.encode({"sweep": asked, "points": rows}))
    (told,) = re.findall(OFFERED, said(sweep, "--goodput", "ttft:60", "--verbose"))
    setting = shlex.split(told)[-1]
    check_grid(tmp_path, points(read_sweep(str(tmp_path), [setting])))
    with pytest.raises(InputError, match="that this sweep does not ask"):
        check_grid(tmp_path, points(read_sweep(str(tmp_path), [setting.replace("[1,", "[")])))


def test_a_sweep_folder_can_be_read_as_a_sweep_file(tmp_path: Path) -> None:
    """So that its points keep their identity, and one more level is one more point."""
    asked = read_sweep("smoke")
    (tmp_path / "sweep.json").write_bytes(msgspec.json.encode({"sweep": asked, "points": []}))
    again = read_sweep(str(tmp_path))
    assert [point.key for point in points(again)] == [point.key for point in points(asked)]
    more = read_sweep(str(tmp_path), ["workload.concurrency=[1,2,4,8,16,24,28,32]"])
    assert len({point.key for point in points(more)} - {point.key for point in points(asked)}) == asked.repeats


@pytest.mark.lengthy
def test_the_page_draws_goodput(sweep: Path, tmp_path: Path) -> None:
    said(sweep, "--goodput", "ttft:60", "--html", tmp_path / "page.html")
    (data,) = re.findall(
        r'<script id="charts" type="application/json">(.*?)</script>', (tmp_path / "page.html").read_text()
    )
    (chart,) = (chart for chart in json.loads(data) if chart["title"] == "Goodput")
    assert chart["series"][2]["values"][:4] == [100] * 4
    assert [(region["label"], region["begin"], region["end"]) for region in chart["regions"]] == [
        ("limits met", None, 8),
        ("limits missed", 14, None),
    ]


def test_a_gate_on_goodput(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, ran(count)) for name, count in (("before", 8), ("after", 20))]
    bound = ("--fail-if", "goodput_requests_per_s < -5%")
    text = said(*runs, *bound, "--goodput", "ttft:60", command=compare)
    assert "goodput, requests/s" in text
    assert "open goodput_requests_per_s < -5%" in text
    refused = CliRunner().invoke(compare, [str(word) for word in (*runs, *bound)])
    assert "name limits with --goodput" in str(refused.exception)


def test_a_cost_and_an_energy_are_limits_on_the_whole_run(tmp_path: Path) -> None:
    """3.6 an hour over the tokens of an hour; without a GPU there is no energy."""
    run = write_run(tmp_path / "run", ran(20))
    rate = figures(run)["summary"]["total_tokens_per_s"]
    cost, price = 1 / rate, ("--cost-per-hour", "3.6EUR")
    text = said(run, "--goodput", f"cost_per_1000_tokens:{1.01 * cost:g}", *price)
    assert re.search(r"Cost of 1,000 tokens: [\d.e-]+, within its limit", text)
    text = said(run, "--goodput", f"cost_per_1000_tokens:{0.99 * cost:g}", "joules_per_token:1", *price)
    assert re.search(r"Cost of 1,000 tokens: [\d.e-]+, above its limit", text)
    assert "Energy per token cannot be judged: energy is not known: no GPU was sampled." in text


@pytest.mark.lengthy
def test_the_highest_load_also_has_to_pay(sweep: Path) -> None:
    """Throughput grows to 14: at a cost that only 4 and more meet, lower loads are said to miss it."""
    rates = {point["name"]: point["summary"]["total_tokens_per_s"] for point in figures(sweep)["points"]}
    limit = 1.01 / rates["concurrency 4"]
    words = ("--goodput", "ttft:60", f"cost_per_1000_tokens:{limit:g}", "--cost-per-hour", 3.6)
    text = said(sweep, *words)
    assert "8 concurrent requests" in text.partition("Highest load at which")[2]
    assert "Below 4 concurrent requests cost of 1,000 tokens" in text
    (curve,) = figures(sweep, *words)["curves"]
    assert (curve["most_load"]["least"], curve["most_load"]["most"]) == (4, 8)
    assert curve["slo"]["prices"] is None  # `money` has them
    none = said(sweep, "--goodput", f"cost_per_1000_tokens:{0.01 * limit:g}", "--cost-per-hour", 3.6)
    assert re.search(r"At no load measured do cost of 1,000 tokens <= [\d.e-]+: at \d+ .*cost of 1,000 tokens is", none)


@pytest.mark.lengthy
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("report", "--goodput", "cost_per_1000_tokens:1"), "needs prices: give --money FILE, or --cost-per-hour"),
        (("report", "--goodput", "cost_per_1000_tokens:0"), "give a sum in the currency of the prices"),
        (("report", "--goodput", "joules_per_token:x"), "give joules, as joules_per_token:0.5"),
        (("compare", "--goodput", "cost_per_1000_tokens:1"), "needs prices"),
        (("compare", "--fail-if", "cost_per_million_tokens > 5%"), "give prices with --money or --cost-per-hour"),
        (("compare", "--fail-if", "joules_per_token > 5%"), "the energy of the GPUs is not known"),
    ],
)
def test_limits_without_prices_or_energy_are_refused(sweep: Path, words: tuple[str, ...], sentence: str) -> None:
    command, folders = (report, [sweep]) if words[0] == "report" else (compare, [sweep, sweep])
    done = CliRunner().invoke(command, [*map(str, folders), *words[1:]])
    assert isinstance(done.exception, InputError)
    assert sentence in str(done.exception)


@pytest.mark.lengthy
def test_a_bound_on_costs_is_judged_with_prices(sweep: Path) -> None:
    prices = ("--cost-per-hour", "3.6EUR")
    text = said(sweep, sweep, "--fail-if", "cost_per_million_tokens > 5%", *prices, command=compare)
    assert "cost_per_million_tokens > 5%" in text
    text = said(sweep, sweep, "--fail-if", "cost_per_million_tokens > 0.001", *prices, command=compare)
    assert "open cost_per_million_tokens > 0.001" in text  # measured once
    names = json.loads(CliRunner().invoke(compare, [str(sweep), str(sweep), *prices, "--format", "json"]).stdout)
    assert "cost_per_million_output_tokens" in {change["metric"] for change in names[0]["points"][0]["changes"]}
