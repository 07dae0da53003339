"""A comparison for CI servers, pull requests and people: JUnit, Markdown, the page, several side by side."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from engine_probe.analysis.compare.changes import METRICS, Change
from engine_probe.evaluation import comparison
from engine_probe.report.charts.compare import compare_charts
from engine_probe.report.renderers.forest_plot import forest, reach, wider
from engine_probe.report.sections.compare.change_words import chance_words, ratio, short_names
from tests.support.processes.command import compare
from tests.support.recordings.golden import write_repeated
from tests.support.recordings.run_folders import facts, ran, write_run, write_sweep
from tests.support.values import values

RATE = "output_tokens_per_s < -5%"
HOSTILE = "a\x00\x1b[31m<b>&]]>\u202e\ufffe"


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    place = tmp_path_factory.mktemp("sweeps")
    return tuple(
        write_repeated(place / name, blocks, (4, 20)) for name, blocks in (("wide", 90), ("narrow", 40), ("wider", 120))
    )


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three earlier sweeps of the wide pool, which differ by what a token more in each prompt costs."""
    place = tmp_path_factory.mktemp("history")
    return [write_repeated(place / f"{prompt}", 90, (4, 20), prompt) for prompt in (47, 48, 49)]


class TestJUnit:
    @pytest.mark.lengthy
    def test_a_case_for_each_gate_and_point(self, sweeps: tuple[Path, Path, Path], history: list[Path]) -> None:
        bounds = ("--fail-if", RATE, "--fail-if", "output_tokens_per_s < -90%")
        result = compare(*sweeps[:2], "--history", *history, *bounds, "--format", "junit")
        assert result.exit_code == 1
        (suite,) = ElementTree.fromstring(result.stdout.encode())
        assert {name: suite.get(name) for name in ("tests", "failures", "errors")} == {
            "tests": "6",
            "failures": "2",
            "errors": "0",
        }
        (failed, told), _ = ((case, each) for case in suite.iter("testcase") for each in case.iter("failure"))
        assert failed.get("name") == f"{RATE}, concurrency 20"
        assert str(told.get("message")).startswith(f"FAIL {RATE}: concurrency 20, -")
        assert re.fullmatch(r"[\d,.]+ to [\d,.]+ tokens/s, -[\d.]+%", str(told.text).splitlines()[1])
        assert float(str(failed.get("time"))) > 0

    def test_what_was_not_measured_is_an_error(self, tmp_path: Path) -> None:
        before, after = write_sweep(tmp_path / "a", (1, 2)), write_sweep(tmp_path / "b", (1, 2))
        (after / "points" / "p2" / "run.json").unlink()
        (suite,) = ElementTree.fromstring(
            compare(before, after, "--fail-if", RATE, "--format", "junit").stdout.encode()
        )
        assert (suite.get("errors"), suite.get("failures")) == ("1", "0")

    @pytest.mark.lengthy
    def test_an_open_bound_is_skipped_aloud_and_fails_only_if_asked(self, sweeps: tuple[Path, Path, Path]) -> None:
        here = (sweeps[0], sweeps[0], "--fail-if", "output_tokens_per_s < 0%", "--format", "junit")
        lax, strict = compare(*here), compare(*here, "--strict")
        assert (lax.exit_code, strict.exit_code) == (4, 1)
        assert "open output_tokens_per_s < 0%: concurrency 20, " in lax.stderr
        assert "drift between measurements not known" in lax.stderr
        for result, skipped, failures in ((lax, "2", "0"), (strict, "0", "2")):
            (suite,) = ElementTree.fromstring(result.stdout.encode())
            assert (suite.get("skipped"), suite.get("failures")) == (skipped, failures)

    def test_names_break_no_xml(self, tmp_path: Path) -> None:
        mine = write_run(tmp_path / "a", ran(1), facts(name="tiny"))
        theirs = write_run(tmp_path / "b", ran(1), facts(name=HOSTILE))
        text = compare(mine, theirs, "--fail-if", RATE, "--format", "junit").stdout
        assert "a\\x00\\x1b[31m<b>&]]>" in str(ElementTree.fromstring(text.encode())[0].findtext("system-out"))

    def test_without_a_gate_there_is_no_case(self, sweeps: tuple[Path, Path, Path]) -> None:
        assert "name one with --fail-if" in str(compare(*sweeps[:2], "--format", "junit").exception)


@pytest.mark.lengthy
def test_json_has_intervals_and_gates(sweeps: tuple[Path, Path, Path], history: list[Path]) -> None:
    words = (*sweeps[:2], "--history", *history, "--fail-if", RATE, "--format", "json")
    (found,) = json.loads(compare(*words).stdout)
    assert found["earlier"] == 3
    assert [(gate["point"], gate["answer"]) for gate in found["gates"]] == [
        ("concurrency 4", "holds"),
        ("concurrency 20", "broken"),
        ("all 2 points together", "broken"),
    ]
    change = found["points"][1]["changes"][0]
    low, high = change["interval"]
    assert low < change["after"] - change["before"] < high < 0
    assert (change["interval_includes_drift"], change["p"], change["verdict"]) == (True, None, "not tested")


@pytest.mark.lengthy
def test_several_stand_side_by_side(sweeps: tuple[Path, Path, Path]) -> None:
    text = compare(*sweeps).stdout
    assert ["narrow against wide" in text, "wider against wide" in text] == [True, True]
    points = compare(*sweeps, "--verbose").stdout.partition("Each point")[2]
    (row,) = (line for line in points.splitlines() if re.match("output tokens/s .*lower .*higher", line))
    assert row.count("%") == 2


@pytest.mark.lengthy
def test_several_that_cannot_be_pooled_show_their_largest_changes(sweeps: tuple[Path, Path, Path]) -> None:
    """Two levels are too few to pool, so each comparison has a table of its own, which only `--verbose` prints."""
    shown = compare(*sweeps, "--verbose").stdout
    _, narrow, wider = re.split(r"^(?:narrow|wider) *$", shown.partition("What changed\n")[2], flags=re.MULTILINE)
    for table, change, direction in ((narrow, "-26.7%", "lower"), (wider, "+32.0%", "higher")):
        rows = [line.split() for line in table.splitlines() if line.startswith("output tokens/s")]
        (row,) = (row for row in rows if row[2:4] == ["concurrency", "20"])
        assert row[-5] == change
        assert row[-1] == direction


class TestThePage:
    def test_it_draws_without_a_word_and_fits_a_phone(
        self, sweeps: tuple[Path, Path, Path], history: list[Path], tmp_path: Path, window: Any
    ) -> None:
        page = tmp_path / "changes.html"
        assert compare(*sweeps, "--history", *history, "--fail-if", RATE, "--html", page).exit_code == 1
        sheet = window.new_page(360)
        words: list[str] = []
        sheet.on("console", lambda message: words.append(message.text))
        sheet.on("pageerror", lambda error: words.append(str(error)))
        sheet.goto(page.as_uri())
        assert sheet.locator(".warning", has_text="FAIL").count() == 1
        assert sheet.locator(".warning").first.inner_text().startswith(f"FAIL {RATE}: concurrency 20")
        assert sheet.locator(".plot .uplot canvas").count() == 4
        assert sheet.locator(".forest svg:visible").count() == 2
        assert sheet.evaluate("document.documentElement.scrollWidth") == 360
        assert words == []
        sheet.close()

    def test_a_name_is_only_a_name(self, tmp_path: Path) -> None:
        mine = write_run(tmp_path / "a", ran(1), facts(name="tiny"))
        theirs = write_run(tmp_path / "b", ran(1), facts(name=HOSTILE))
        page = tmp_path / "page.html"
        assert compare(mine, theirs, "--html", page).exit_code == 0
        shown = page.read_text().partition("<script")[0]
        assert "\x1b" not in shown
        assert "&lt;b&gt;&amp;]]&gt;" in shown


def test_a_title_has_as_much_of_each_path_as_tells_them_apart() -> None:
    assert short_names(["/runs/before", "/runs/after/"]) == ["before", "after"]
    assert short_names(["/a/x/run", "/b/x/run", "/b/y/run"]) == ["a/x/run", "b/x/run", "b/y/run"]
    assert short_names(["/a/run", "/a/run"]) == ["/a/run", "/a/run"]


@pytest.mark.parametrize(("changes", "axis"), [
    ([], (0.05, 0.05)),
    ([0.01, -0.02, 0.01, 0.02, -0.01, 0.02, 0.01, 7.0], (0.05, 0.05)),  # one outlier does not flatten the rest
    ([-0.635, -0.635, -0.6, 5.1, 1.7, 1.7, 1.7, 4.0], (1.0, 4.0)),  # a loss of 63.5 % is seen beside a fivefold time
    ([-0.02, 0.4], (0.05, 0.5)),
    ([-0.02, -0.4], (0.5, 0.05)),
])  # fmt: skip
def test_each_side_of_the_axis_has_room_for_its_own_changes(changes: list[float], axis: tuple[float, float]) -> None:
    assert reach(changes) == axis


@pytest.mark.parametrize(("intervals", "axis"), [
    ([], (0.2, 0.5)),
    ([(-0.24, 0.1), (-0.1, 0.6)], (0.24, 0.6)),
    ([(-9.0, 9.0)], (0.3, 0.75)),  # half as far again at most
])  # fmt: skip
def test_an_axis_has_room_for_intervals(intervals: list[tuple[float, float]], axis: tuple[float, float]) -> None:
    assert wider((0.2, 0.5), intervals) == pytest.approx(axis)


def test_what_lies_beyond_the_axis_is_an_arrow_with_its_figure() -> None:
    rows = [("far", Change(METRICS[0], (1.0,), (80.0,), None)), ("near", Change(METRICS[0], (1.0,), (1.0,), None))]
    drawn = forest(rows, "changes")
    assert (drawn.count("<polygon"), drawn.count("<circle")) == (1, 1)
    assert ">+7900.0%<" in drawn
    assert values(drawn.partition("aria-label")[2])[:2] == ["+7900.0%", "+0.0%"]


def test_an_interval_beyond_the_axis_ends_in_arrows_at_its_edges() -> None:
    wide = Change(METRICS[0], (1.0, 9.0), (2.0, 8.0), 0.9, (-500.0, 500.0))
    drawn = forest([("rate", wide)], "changes")
    assert (drawn.count("<polygon"), drawn.count("<circle")) == (2, 1)


def test_the_interval_is_that_of_welch() -> None:
    """Two and two: 1, 3 against 5, 7. Means 2 and 6, each error 1, two degrees of freedom: 4 ± 4.3027 √2."""
    from engine_probe.analysis.compare.changes import difference

    p, interval = difference([1, 3], [5, 7])
    assert p == pytest.approx(0.1056, abs=1e-4)
    assert interval == pytest.approx((4 - 4.30265 * 2**0.5, 4 + 4.30265 * 2**0.5), abs=1e-4)


@pytest.mark.lengthy
def test_a_bound_is_held_to_all_points_together_too(tmp_path: Path) -> None:
    """One run at each of four levels: alone none has an interval, together they have one within the sweeps."""
    before, after = write_sweep(tmp_path / "a", (6, 10, 14, 20)), write_sweep(tmp_path / "b", (6, 10, 14, 20), 40)
    (found,) = json.loads(compare(before, after, "--fail-if", RATE, "--format", "json").stdout)
    assert [gate["point"] for gate in found["gates"]][-1] == "all 4 points together"
    assert {(gate["p"], gate["answer"]) for gate in found["gates"]} == {(None, "open")}
    assert {change["interval"] for point in found["points"] for change in point["changes"]} == {None}
    (rate, *_) = found["together"]
    assert rate["metric"] == "output_tokens_per_s"
    assert rate["interval"][0] < rate["after"] - rate["before"] < rate["interval"][1]


def test_another_workload_is_another_experiment_and_is_said_first(tmp_path: Path) -> None:
    folders = []
    for name, output_len, ranks in (("a", 40, 1), ("b", 20, 2)):
        told = facts() | {"workload": {"prompts": {"turns": output_len}, "output_len": output_len, "sha256": name}}
        told["engine"] = told["engine"] | {"arguments": {"parallel_config": {"tensor_parallel_size": ranks}}}
        folders.append(write_run(tmp_path / name, ran(1), told))
    (found,) = json.loads(compare(*folders, "--format", "json").stdout)
    assert found["notes"] == [
        "Not the same workload, so not the same experiment: prompts.turns 40 and 20, output_len 40 and 20",
        "engine.tensor_parallel_size differs: 1 before, 2 after",
    ]


def test_a_setting_is_none_if_it_is_not_set_and_not_recorded_if_nothing_says_so(tmp_path: Path) -> None:
    folders = []
    for name, config in (("a", {"quantization": None}), ("b", {"quantization": "fp8", "enforce_eager": True})):
        told = facts() | {"workload": {"output_len": 4} | ({"turns": 6} if name == "b" else {})}
        told["engine"] = told["engine"] | {"arguments": {"model_config": config}}
        folders.append(write_run(tmp_path / name, ran(1), told))
    (found,) = json.loads(compare(*folders, "--format", "json").stdout)
    assert found["notes"] == [
        "Not the same workload, so not the same experiment: turns none and 6",
        "engine.quantization differs: none before, fp8 after",
        "engine.enforce_eager differs: not recorded before, True after",
    ]


def test_values_that_are_all_alike_have_the_p_of_a_permutation() -> None:

    from engine_probe.analysis.compare.changes import difference

    alike, scattered = ((8.0, 8.0), (7.0, 7.0)), ((8.0, 8.0), (7.0, 7.5))
    told = [chance_words(Change(METRICS[0], *each, *difference(*each))) for each in (alike, scattered)]
    assert told == ["0.333", "0.205"]


def test_no_p_is_printed_as_zero() -> None:
    assert [chance_words(Change(METRICS[0], (8.0,), (7.0,), p)) for p in (0.0002, 0.001)] == ["<0.001", "0.001"]


def test_without_repeats_a_change_has_a_direction_and_no_verdict(tmp_path: Path) -> None:
    before, after = write_run(tmp_path / "a", ran(1), facts()), write_run(tmp_path / "b", ran(2), facts())
    text = compare(before, after).stdout
    assert re.search(r"^metric .* direction \(not tested\) *$", text, re.MULTILINE)
    assert re.search(r"^output tokens/s .* (higher|lower) *$", text, re.MULTILINE)
    assert "not tested: " in text
    assert "There is no interval: each was measured once, or its repeats one after another." in " ".join(text.split())


@pytest.mark.lengthy
def test_earlier_sweeps_show_the_drift(sweeps: tuple[Path, Path, Path], history: list[Path]) -> None:
    """A sweep of another pool and the compared ones themselves are none of them."""
    wide, narrow, wider = sweeps
    text = " ".join(compare(wide, narrow, f"--history={wide}", *history, wider).stdout.split())
    assert values(text.partition("include the drift")[2])[0] == "3"
    assert values(text.partition("wider is no earlier measurement")[2])[:2] == ["90", "120"]
    assert text.count("with drift") == 1  # the title of the column
    same = " ".join(compare(wide, history[1], "--history", history[0], history[2]).stdout.split())
    assert values(same.partition("The drift is larger than the change")[2])[0] == "2"
    assert " worse" not in text + same
    assert " better" not in text + same


@pytest.mark.lengthy
def test_earlier_sweeps_of_another_machine_show_nothing(tmp_path: Path, history: list[Path]) -> None:
    """Two machines may drift apart by more than either does by itself."""
    wide = write_repeated(tmp_path / "wide", 90, (4, 20))
    for file in wide.rglob("run.json"):
        document = json.loads(file.read_text())
        document["process"]["host"] = "another"
        file.write_text(json.dumps(document))
    text = " ".join(compare(history[0], wide, "--history", *history[1:]).stdout.split())
    assert "The two sides were measured on different machines: earlier measurements of both are needed" in text
    assert "drift between measurements on this machine is not known" in text


@pytest.mark.lengthy
def test_a_single_earlier_sweep_shows_no_drift(sweeps: tuple[Path, Path, Path], history: list[Path]) -> None:
    text = " ".join(compare(*sweeps[:2], "--history", history[0]).stdout.split())
    assert values(text.partition(" earlier measurement")[0])[-1] == "1"
    assert "at least two of one side are needed" in text
    assert "within sweeps" in text
    assert "with drift" not in text


def test_history_is_for_one_on_each_side(sweeps: tuple[Path, Path, Path], history: list[Path]) -> None:
    refused = compare(*history[:2], "--against", *sweeps[:2], "--history", sweeps[2])
    assert "--history is for one measurement on each side" in str(refused.exception)


@pytest.mark.lengthy
def test_a_sweep_against_itself_has_two_lines_in_each_chart(sweeps: tuple[Path, Path, Path]) -> None:
    found = comparison.compare_each(sweeps[0], [sweeps[0]])
    charts = list(compare_charts(found, ["wide", "wide"]))
    assert [len(chart.series) for chart in charts] == [2, 2, 2, 2]


@pytest.mark.parametrize(
    ("before", "after", "far"), [(1.0, 2.0, 0.693), (2.0, 1.0, 0.693), (1.0, 0.0001, math.inf), (0.0, 1.0, math.inf)]
)
def test_twice_and_half_are_as_far_from_no_change(before: float, after: float, far: float) -> None:
    """And what rounds to nothing is as far as nothing."""
    assert ratio(Change(METRICS[0], (before,), (after,), None)) == pytest.approx(far, abs=0.001)
