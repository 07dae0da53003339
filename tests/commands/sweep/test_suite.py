"""`engine_probe suite`: what it shows before, while and after its sweeps are measured, with stand-ins for these."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from engine_probe.cli import cli
from engine_probe.commands.sweep.suite import measure as suite_measure
from engine_probe.errors import INTERRUPTED, InputError, UnavailableError
from engine_probe.recordings.suite import load_suite, read_state
from engine_probe.sweep.definition.loader import read_sweep
from engine_probe.sweep.definition.sweep_file import SweepFile, points
from engine_probe.sweep.preflight.earlier_sweeps import Past, earlier
from tests.support.recordings.run_folders import write_sweep

SWEEP = """
question = "Is it fast?"
[engine]
model = "MODEL"
[workload]
input_len = 48
output_len = 40
[axes]
"workload.concurrency" = [1, 4, 8]
"""
SUITE = """
title = "A paper"
[[sections]]
title = "1. Two models"
together = true
sweeps = ["tiny.toml", "smollm2.toml"]
[[sections]]
title = "2. Another"
sweeps = [{ sweep = "tiny.toml", name = "again" }]
"""


class Sweeps:
    """Takes the place of `engine_probe sweep`; a sweep ends with what is told of it."""

    def __init__(self, **ends: Any) -> None:
        self.ends, self.headings, self.twins = ends, list[str](), list[Any]()
        self.addresses: list[str | None] = []

    def __call__(self, sweep: SweepFile, name: str, out: str, heading: str, address: str | None, **_: Any) -> int:
        self.headings.append(heading)
        self.addresses.append(address)
        self.twins.append(sweep.engine.twin)
        end = self.ends.get(name, 0)
        if isinstance(end, BaseException):
            raise end
        write_sweep(Path(out), (1, 4, 8), name=name)
        return int(end)


@pytest.fixture(autouse=True)
def _there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for model in ("tiny", "smollm2"):
        (tmp_path / f"{model}.toml").write_text(SWEEP.replace("MODEL", model))
    (tmp_path / "paper.toml").write_text(SUITE)


def stand_in(monkeypatch: pytest.MonkeyPatch, **ends: Any) -> Sweeps:
    sweeps = Sweeps(**ends)
    monkeypatch.setattr(suite_measure, "measure_sweep", sweeps)
    return sweeps


def suite(*words: str) -> Result:
    return CliRunner().invoke(cli, ["suite", *words])


def words_of(text: str) -> str:
    return re.sub(r"\s+", " ", text)


@pytest.mark.lengthy
def test_it_ends_in_one_report_and_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweeps = stand_in(monkeypatch)
    done = suite("paper.toml", "--out", "out")
    assert done.exit_code == 0, done.output
    words = words_of(done.stdout)
    assert words.index("3 of 3 sweeps complete") < words.index("1. Two models") < words.index("2. Another")
    assert "A paper" in (tmp_path / "out/report.html").read_text()
    assert sweeps.headings[2] == "sweep 3 of 3: again, 2. Another; 2 complete"


@pytest.mark.lengthy
def test_it_says_how_long_what_is_left_takes_by_the_points_that_are_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three points of `tiny` took 10 s each; nothing is known of `smollm2`."""
    past = [Past(point.key, point, 10.0, 100, 1000, None) for point in points(read_sweep("tiny.toml"))]
    monkeypatch.setattr(suite_measure, "earlier", lambda folder, hardware: past)
    sweeps = stand_in(monkeypatch)
    assert suite("paper.toml", "--out", "out").exit_code == 0
    told = [heading.partition("; about ")[2].partition(",")[0] for heading in sweeps.headings]
    assert told == ["1.0 min left for 2 of 3", "30 s left for 1 of 2", "30 s left"]


@pytest.mark.lengthy
def test_on_a_fleet_each_sweep_runs_there(monkeypatch: pytest.MonkeyPatch) -> None:
    sweeps = stand_in(monkeypatch)
    assert suite("paper.toml", "--out", "out", "--ray", "local").exit_code == 0
    assert sweeps.addresses == ["local"] * 3
    assert not any("left" in heading for heading in sweeps.headings)


@pytest.mark.lengthy
def test_its_folders_are_section_and_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch)
    suite("paper.toml", "--out", "out")
    places = [str(file.parent.relative_to(tmp_path)) for file in sorted(tmp_path.rglob("sweep.json"))]
    assert places == ["out/1._two_models/smollm2", "out/1._two_models/tiny", "out/2._another/tiny"]


@pytest.mark.lengthy
def test_a_sweep_that_cannot_run_is_told_and_the_others_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, smollm2=UnavailableError("no GPU here"))
    done = suite("paper.toml", "--out", "out")
    assert done.exit_code == 1
    assert "smollm2, failed: no GPU here" in done.stderr
    assert "smollm2: no GPU here." in words_of(done.stdout)


@pytest.mark.lengthy
def test_after_ctrl_c_what_is_measured_is_reported_and_resume_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, smollm2=KeyboardInterrupt())
    done = suite("paper.toml", "--out", "out")
    assert done.exit_code == INTERRUPTED
    assert "continue with engine_probe suite --resume out" in done.stderr
    assert "1 of 3 sweeps complete" in done.stdout
    again = stand_in(monkeypatch)
    done = suite("--resume", "out")
    assert done.exit_code == 0, done.output
    assert len(again.headings) == 2
    assert "3 of 3 sweeps complete" in done.stdout


def test_a_dry_run_shows_every_sweep_and_starts_nothing(tmp_path: Path) -> None:
    done = suite("paper.toml", "--dry-run")
    assert done.exit_code == 0, done.output
    words = words_of(done.stdout)
    assert words.index("1. Two models") < words.index("smollm2") < words.index("2. Another") < words.index("again")
    assert "3 of 3 sweeps can be measured here" in words
    assert not list(tmp_path.rglob("sweep.json"))


def test_a_dry_run_names_what_this_machine_lacks_once(tmp_path: Path) -> None:
    (tmp_path / "smollm2.toml").write_text(SWEEP.replace("MODEL", "llama-3.1-70b"))
    words = words_of(suite("paper.toml", "--dry-run").stdout)
    assert "2 of 3 sweeps can be measured here" in words
    assert words.count("the weights of llama-3.1-70b take") == 1


def test_a_dry_run_for_a_gpu_predicts_pools_and_times_and_what_finds_no_room(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(SWEEP.replace("MODEL", "gpt2-xl"))
    (tmp_path / "smollm2.toml").write_text(SWEEP.replace("MODEL", "falcon-40b"))
    words = words_of(suite("paper.toml", "--dry-run", "--device", "L40S").stdout)
    assert "2 of 3 sweeps can be measured on L40S. Predicted: at least" in words
    assert re.search(r"tiny 3 2.9 GiB \d+ ~[\d,]+ \d+% ≥ ", words)
    assert "falcon-40b cannot start" in words


@pytest.mark.lengthy
def test_only_some_of_the_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    sweeps = stand_in(monkeypatch)
    suite("paper.toml", "--out", "out", "--only", "again", "--only", "tiny")
    assert [heading.split(",")[0] for heading in sweeps.headings] == ["sweep 1 of 2: tiny", "sweep 2 of 2: again"]


@pytest.mark.lengthy
def test_the_times_of_a_suite_predict_those_of_later_sweeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dry run looks in runs/, in whose folders a suite keeps its sweeps."""
    stand_in(monkeypatch)
    suite("paper.toml", "--out", "runs/paper")
    seen: list[Path] = []
    monkeypatch.setattr(
        "engine_probe.sweep.preflight.earlier_sweeps.points_of", lambda file, _: seen.append(file) or iter(())
    )
    earlier(tmp_path / "runs", {})
    assert len(seen) == 3


def test_the_shipped_suites_are_listed() -> None:
    shown = suite("--list").stdout
    assert re.search(r"^thesis: ", shown, re.MULTILINE)
    assert "concurrency_gpt2_xl, concurrency_deepseek_7b" in shown


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "name a suite"),
        (("nothing",), "there is no suite 'nothing'"),
        (("paper.toml", "--resume", "out"), "leave paper.toml out"),
        (("--resume", "nowhere"), "holds no suite.json"),
        (("--resume", "out", "--out", "other"), "leave --out out"),
        (("--resume", "out", "--set", "repeats=2"), "as it was begun"),
        (("paper.toml", "--out", "."), "already holds something"),
        (("paper.toml", "--device", "L40S"), "is for --dry-run"),
        (
            ("paper.toml", "--ray", "auto", "--dry-run", "--device", "L40S"),
            "those of the fleet's machines are not known",
        ),
        (("paper.toml", "--ray", "auto", "--twin", "L40S"), "leave --ray auto out"),
        (("paper.toml", "--dry-run", "--device", "L40S", "--like", "."), "leave --like out"),
        (("paper.toml", "--dry-run", "--device", "L9000"), "L9000"),
    ],
)
def test_what_cannot_be_is_refused(words: tuple[str, ...], sentence: str) -> None:
    done = suite(*words)
    assert isinstance(done.exception, InputError)
    assert sentence in str(done.exception)


def test_the_state_is_written_before_the_first_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, tiny=KeyboardInterrupt())
    suite("paper.toml", "--out", "out")
    state = json.loads((tmp_path / "out/suite.json").read_text())
    assert [row["status"] for row in state["sweeps"]] == ["running", "waiting", "waiting"]


@pytest.mark.lengthy
def test_a_suite_on_twins_is_predicted_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when it goes on; a sweep that cannot be predicted is named with its reason."""
    sweeps = stand_in(monkeypatch, tiny=KeyboardInterrupt())
    path = tmp_path / "smollm2.toml"
    path.write_text(path.read_text() + "[workload.sampling]\nignore_eos = false\n")
    suite("paper.toml", "--twin", "L4", "--out", "out")
    state = read_state(Path("out"))
    assert state.twin == "L4"
    assert repr(load_suite("out")).startswith("<Suite Predicted: A paper")
    sweeps.ends.clear()
    done = suite("--resume", "out")
    assert [twin is not None for twin in sweeps.twins] == [True, True, True]
    reason = {row.name: row.reason for row in read_state(Path("out")).sweeps}
    assert "does not know where an answer ends" in reason["smollm2"]
    told = words_of(done.output)
    assert "Predicted: A paper: 3 sweeps to predict" in told
    assert "smollm2, not predicted: workload.sampling.ignore_eos is false" in told
    assert "on a virtual clock, with step times from L4; nothing was measured" in told
    CliRunner().invoke(cli, ["report", "out", "--json", "figures.json"])
    assert json.loads(Path("figures.json").read_text())["predicted"] is True


def test_a_suite_goes_on_as_it_was_begun() -> None:
    done = suite("--resume", "out", "--twin", "L4")
    assert isinstance(done.exception, InputError)
