"""Where the forward's time goes: planted operators in the report, and what their window leaves out of other figures."""

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner
from rich.console import Console

from engine_probe.analysis.run.slo import Slo
from engine_probe.analysis.step.operators import operator_times, profiled_span, profiled_steps
from engine_probe.commands.report import command
from engine_probe.errors import InputError
from engine_probe.recordings.run import Run, load
from engine_probe.report.document import Section, cell_words
from engine_probe.report.renderers.markdown import markdown
from engine_probe.report.renderers.terminal import PAINTS as TERMINAL_PAINTS
from engine_probe.report.renderers.terminal import print_document
from engine_probe.report.run_report import run_document
from engine_probe.report.sections.run.operators import OTHERS_PAINT
from engine_probe.report.sections.run.operators import PAINTS as OPERATOR_PAINTS
from tests.support.recordings.run_folders import facts, ran, write_run
from tests.support.recordings.small_tables import table

MS = 1_000_000
FIRST, STEPS = 10, 4
# kind, layer, name, calls and ms of every profiled step: a forward of 10 ms
FORWARD = (
    ("attention", "attention", "flash_fwd", 2, 3),
    ("matrix product", "attention", "nvjet_a", 4, 2),
    ("matrix product", "MLP", "nvjet_b", 4, 3),
    ("other", None, "my_own", 1, 1),
    ("gap", None, "", 0, 1),
)


def profiled_run(folder: Path, place: str = "device", steps: int = STEPS, engine: dict[str, Any] | None = None) -> Run:
    tables = ran(4, later=4)
    began = tables["iterations"]["start_ns"].to_pylist()
    numbers = range(tables["iterations"].num_rows)
    tables["workers"] = table("workers", [{"iteration": n, "start_ns": began[n], "rank": 0} for n in numbers])
    rows = [
        {"iteration": n, "rank": 0, "phase": phase, "place": place, "kind": kind, "layer": layer, "name": name}
        | {"calls": calls, "duration_ns": ms * MS}
        for n in range(FIRST, FIRST + steps)
        for phase, kind, layer, name, calls, ms in (
            *(("forward", *row) for row in FORWARD),
            ("sampling", "sampling", None, "argmax", 1, 2),
        )
    ]
    tables["operators"] = table("operators", rows)
    last = began[FIRST + steps] if steps else 0
    ends = {"rank": 0, "place": place, "kind": "attention", "name": "flash_fwd"}
    tables["operator_slices"] = table(
        "operator_slices",
        [ends | {"start_ns": began[FIRST] + 1, "duration_ns": last - began[FIRST] - 2}] if steps else [],
    )
    asked = engine or facts() | {"operators": {"steps": STEPS, "first": FIRST}}
    return load(write_run(folder, tables, asked))


def section_of(run: Run) -> Section:
    sections = run_document(run, run.analysis()).sections
    (found,) = [each for each in sections if each.title == "Where the forward's time goes"]
    return found


def test_the_kinds_of_the_forward_add_up_to_it(tmp_path: Path) -> None:
    found = profiled_run(tmp_path / "run").analysis().operators
    assert found is not None
    assert found.kinds == {
        "matrix product": 5 * MS,
        "attention": 3 * MS,
        "gap": MS,
        "other": MS,
    }
    assert (found.forward_ns, found.steps, found.ranks) == (10 * MS, STEPS, 1)
    assert found.layers["attention"] == {"attention": 3 * MS, "matrix product": 2 * MS}
    assert found.phases["sampling"] == {"sampling": 2 * MS}
    assert [(each.name, each.calls, each.ns) for each in found.longest][:2] == [
        ("flash_fwd", 2, 3 * MS),
        ("nvjet_b", 4, 3 * MS),
    ]


def test_a_run_in_one_line_has_no_rate_that_the_profiler_slowed_down(tmp_path: Path) -> None:
    assert "output tokens/s" not in repr(profiled_run(tmp_path / "run"))
    assert "output tokens/s" in repr(load(write_run(tmp_path / "other", ran(4))))


def test_the_section_says_where_the_time_went(tmp_path: Path) -> None:
    section = section_of(profiled_run(tmp_path / "run"))
    first, second, unknown, *_ = (sentence.text for sentence in section.sentences)
    assert "matrix products 50%, attention 30%, gaps 10%, other 10%" in first
    assert "GPU" in first
    assert "10.0 ms" in second
    assert "4 profiled steps" in second
    assert "my_own" in unknown
    (part,) = section.parts
    bars = [bar for bars in (*section.bars, *part.bars) for bar in bars.bars]
    assert [(bar.name.strip(), bar.total) for bar in bars] == [
        ("forward", "10.0 ms"),
        ("in attention", "5.00 ms"),
        ("in MLP", "3.00 ms"),
        ("between layers", "2.00 ms"),
        ("sampling", "2.00 ms"),
    ]
    kinds, names = part.tables
    assert [cell_words(row[1]) for row in kinds.rows] == ["50.0%", "30.0%", "10.0%", "10.0%", "100.0%"]
    assert [cell_words(cell) for cell in names.rows[0]] == ["flash_fwd", "attention", "2", "30.0%", "3.00 ms"]
    assert names.note == ""  # all of them are shown


def test_every_renderer_shows_the_section_and_its_colours(tmp_path: Path) -> None:
    run = profiled_run(tmp_path / "run")
    document = run_document(run, run.analysis())
    console = Console(width=120, file=io.StringIO(), record=True)
    print_document(document, console)
    shown = console.export_text()
    assert "matrix products 5.00 ms" in shown, "also without --verbose"
    assert "in MLP" not in shown, "layers, phases and names take --verbose"
    assert "matrix products" in markdown(document)
    assert {*OPERATOR_PAINTS.values(), OTHERS_PAINT} <= TERMINAL_PAINTS.keys()
    written, page = tmp_path / "run.json", tmp_path / "run.html"
    done = CliRunner().invoke(command, [str(run.folder), "--json", str(written), "--html", str(page)])
    assert done.exit_code == 0, done.output
    assert json.loads(written.read_text())["operators"]["kinds"]["attention"] == 3 * MS
    assert "Where the forward" in page.read_text()


def test_a_device_counts_before_the_host(tmp_path: Path) -> None:
    run = profiled_run(tmp_path / "run", place="host")
    assert "worker's thread" in section_of(run).sentences[0].text
    on_device = profiled_run(tmp_path / "other")
    both = pa.concat_tables([run.operators, on_device.operators])
    found = operator_times(run.iterations, both)
    assert found is not None
    assert (found.place, found.forward_ns) == ("device", 10 * MS)


def test_latencies_leave_out_what_the_window_touches(tmp_path: Path) -> None:
    run = profiled_run(tmp_path / "run")
    span = run.profiled_span
    assert span is not None
    marked = profiled_steps(run.iterations, span)
    assert marked.nonzero()[0].tolist() == list(range(FIRST, FIRST + STEPS))
    summary, rows = run.summary(), run.requests.to_pylist()
    assert summary.step.count == run.iterations.num_rows - STEPS
    for name, begin, end in (
        ("ttft", "arrival_ns", "first_token_ns"),
        ("tpot", "first_token_ns", "last_token_ns"),
        ("e2el", "arrival_ns", "last_token_ns"),
    ):
        kept = sum(row[end] <= span[0] or row[begin] >= span[1] for row in rows)
        assert kept == len(rows) if name == "ttft" else 0 < kept < len(rows)  # no first token lies in the window
        assert getattr(summary, name).count == kept


def test_goodput_judges_no_request_that_the_window_touches(tmp_path: Path) -> None:
    run = profiled_run(tmp_path / "run")
    span = run.profiled_span
    assert span is not None
    found = run.summary(Slo(ttft_ms=1e9)).goodput
    assert found is not None
    apart = sum(row["finished_ns"] <= span[0] or row["arrival_ns"] >= span[1] for row in run.requests.to_pylist())
    assert (found.judged, found.undecided) == (apart, run.requests.num_rows - apart)
    assert 0 < apart < run.requests.num_rows


def test_gaps_between_tokens_leave_out_those_of_the_window(tmp_path: Path) -> None:
    run = profiled_run(tmp_path / "run")
    plain = load(write_run(tmp_path / "plain", ran(4, later=4)))
    before, after = plain.summary().itl.count, run.summary().itl.count
    assert before - after == 4 * STEPS  # of the four running requests, each of which gets a token in every step


def test_stalls_are_not_looked_for_in_the_window(tmp_path: Path) -> None:
    run = profiled_run(tmp_path / "run")
    found = run.analysis().stalls
    plain = load(write_run(tmp_path / "plain", ran(4, later=4))).analysis().stalls
    assert (plain.judged - found.judged, plain.not_judged - found.not_judged) == (STEPS, 0)


def test_a_window_that_was_not_reached_is_said(tmp_path: Path) -> None:
    run = profiled_run(tmp_path / "run", steps=0)
    assert run.analysis().operators is None
    assert run.profiled_span is None
    (sentence,) = section_of(run).sentences
    assert sentence.tone == "caution"
    assert f"{STEPS}@{FIRST} was not reached" in sentence.text


def test_a_run_that_ends_within_the_window_says_how_many_steps_it_has(tmp_path: Path) -> None:
    texts = [sentence.text for sentence in section_of(profiled_run(tmp_path / "run", steps=2)).sentences]
    assert any("2 of 4 steps" in text for text in texts)


def test_a_cut_recording_marks_the_steps_of_the_window_by_their_numbers(tmp_path: Path) -> None:
    run = profiled_run(tmp_path / "run")
    cut = {**run.facts, "workers": {"ranks": []}}
    span = profiled_span(cut, run.iterations)
    assert profiled_steps(run.iterations, span).nonzero()[0].tolist() == list(range(FIRST, FIRST + STEPS))
    assert profiled_span({**cut, "operators": {"steps": 4, "first": 10_000}}, run.iterations) is None


def test_a_run_without_a_window_has_an_empty_section(tmp_path: Path) -> None:
    run = load(write_run(tmp_path / "run", ran(2)))
    section = section_of(run)
    assert (section.sentences, section.bars, section.tables) == ((), (), ())
    assert run.operators.num_rows == 0
    assert run.operator_slices.num_rows == 0


@pytest.mark.parametrize("name", ["operators", "operator_slices"])
def test_a_stream_that_lost_rows_is_refused(tmp_path: Path, name: str) -> None:
    run = profiled_run(tmp_path / "run")
    (run.folder / f"{name}-0.arrows").write_bytes((run.folder / f"{name}-0.arrows").read_bytes()[:700])
    with pytest.raises(InputError, match=name):
        getattr(load(run.folder), name)
