"""What a stranger's JSON, TOML or CSV may hold: lone surrogates, other types, depth, digits; each is one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from engine_probe import InputError, load, load_sweep
from engine_probe.commands import compare
from engine_probe.evaluation.money.price_list import read_prices
from engine_probe.evaluation.published.reference import read_reference
from engine_probe.evaluation.scores import read_scores
from engine_probe.files.safe_read import read_toml
from engine_probe.perplexity.text_scores import read_measured
from engine_probe.sweep.execution.resume import finished_rows
from tests.support.recordings.run_folders import ran, write_run, write_sweep

UNUSABLE = {
    "a lone surrogate": ('"\\ud800"', "half of a surrogate pair"),
    "an integer of 400 digits": ("1" + "0" * 400, "mine is an integer of 401 digits"),
    "a number beyond 1e100": ("1e300", "mine is the number 1e300"),
    "deep lists": ("[" * 5_000 + "]" * 5_000, "more than 64 lists and objects within each other"),
    "quite deep lists": ("[" * 100 + "]" * 100, "more than 64 lists and objects within each other"),
}


def with_fact(run: Path, value: str) -> None:
    text = (run / "run.json").read_text()
    (run / "run.json").write_text(text.replace("{", f'{{"mine": {value}, ', 1))


@pytest.mark.parametrize("name", UNUSABLE)
def test_run_json_and_sweep_json_hold_only_what_can_be_used(tmp_path: Path, name: str) -> None:
    value, sentence = UNUSABLE[name]
    run = write_run(tmp_path / "run", ran(1))
    with_fact(run, value)
    with pytest.raises(InputError, match=sentence):
        load(run)
    sweep = write_sweep(tmp_path / "sweep", (1, 2))
    text = (sweep / "sweep.json").read_text()
    (sweep / "sweep.json").write_text(text.replace("{", f'{{"mine": {value}, ', 1))
    for read in (load_sweep, finished_rows):
        with pytest.raises(InputError, match=sentence):
            read(sweep)


def test_infinity_in_a_recording_still_opens(tmp_path: Path) -> None:
    """A workload with `burstiness = inf` writes it."""
    run = write_run(tmp_path / "run", ran(1))
    with_fact(run, "Infinity")
    assert load(run).facts["mine"] == float("inf")


def test_perplexity_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "perplexity.json").write_bytes(b'{"model": "\xff"}')
    with pytest.raises(InputError, match=r"perplexity\.json cannot be read as text \(not UTF-8 at byte 11\)"):
        read_measured(tmp_path)


SETTINGS: dict[str, list[Any]] = {
    "truth beside number": [True, 3],
    "number beside text": [1, "a"],
    "more than 64 bits": [2**64 - 1, 1],
    "whole beside broken": [2**60, 0.5],
    "list beside number": [[1], 2],
}


@pytest.mark.parametrize("name", [*SETTINGS, "a setting named as a column"])
def test_settings_of_mixed_types_are_a_column(tmp_path: Path, name: str) -> None:
    sweep = write_sweep(tmp_path / "sweep", (1, 2))
    document = json.loads((sweep / "sweep.json").read_text())
    key = "mine" if name in SETTINGS else "reason"
    for row, value in zip(document["points"], SETTINGS.get(name, [5, 6]), strict=True):
        row["point"][key] = value
    (sweep / "sweep.json").write_text(json.dumps(document))
    table = load_sweep(sweep).table
    assert table.num_rows == 2
    assert ("mine" if name in SETTINGS else "reason (setting)") in table.column_names


@pytest.mark.parametrize("read", [read_toml, lambda path: read_prices(str(path)), lambda p: read_reference(str(p))])
@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a = " + "[" * 5_000, "more than 64 lists and objects within each other"),
        ("a = 1" + "0" * 400, "a is an integer of more than 64 bits"),
        ("[[a]]\n[[a.b]]\nc = [1, 1" + "0" * 40 + "]", r"a\[0\]\.b\[0\]\.c\[1\] is an integer of more than 64 bits"),
        ("a = 1" + "0" * 5_000, "limit .* digits"),
        ("a = 1e300", r"a is the number 1e\+300"),
        ("a = 1979-05-27", "a is 1979-05-27, a date or a time"),
        ('a = "\\ud800"', "not valid TOML"),
    ],
)
def test_toml_holds_only_what_can_be_used(tmp_path: Path, read: Any, text: str, sentence: str) -> None:
    path = tmp_path / "file.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=sentence):
        read(path)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("s.json", "[1]", "it does not hold an object of points"),
        ("s.json", '{"p": 1' + "0" * 400 + "}", "p is an integer of 401 digits"),
        ("s.json", "[" * 100_000, "more than 64 lists"),
        ("s.csv", "point,x\np," + "1" * 2_000_000, ":2 cannot be read as CSV"),
        ("s.csv", "point,x,x\np,1,2", "two columns 'x'"),
        ("s.csv", "point,x\np,\udcff", "not UTF-8"),
    ],
)
def test_scores_hold_only_what_can_be_used(tmp_path: Path, name: str, content: str, sentence: str) -> None:
    (tmp_path / name).write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=sentence):
        read_scores(tmp_path / name, {"p": None})


CEILING = {"value": 1e11, "unit": "B/s", "stable": True, "quick": False, "measured": "2026-01-01T00:00:00+00:00"}


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"value": "fast"}, r"Expected `float`, got `str` - at `\$\.hardware\.ceilings"),
        ({"value": 0.0}, r"> 0"),
        ({"value": -1.0}, r"> 0"),
        ({"unit": "furlongs"}, "Invalid enum value 'furlongs'"),
        ({"measured": 5}, "Expected `str`, got `int`"),
        ({"doubts": "many"}, "Expected `array`"),
    ],
)
def test_ceilings_of_other_types_are_refused(tmp_path: Path, wrong: dict[str, object], sentence: str) -> None:
    hardware = {"ceilings": {"cpu-1": {"memory read": CEILING | wrong}}}
    run = write_run(tmp_path / "run", ran(1))
    document = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(document | {"hardware": hardware}))
    with pytest.raises(InputError, match=sentence):
        load(run)


def write_perplexity(folder: Path, *nll: float) -> Path:
    folder.mkdir()
    measured = {
        "model": "m",
        "vllm": "v",
        "asked": {"text": "t", "window": 16},
        "text_sha256": "a",
        "windows_sha256": "b",
        "precision": {"dtype": "bfloat16", "quantization": None, "kv_cache_dtype": "auto"},
        "window_nll": nll,
        "window_tokens": [1] * len(nll),
        "not_finite_tokens": 0,
        "unused_tokens": 0,
        "bos_added": True,
        "seconds": 1.0,
    }
    (folder / "perplexity.json").write_text(json.dumps(measured))
    return folder


def test_a_difference_beyond_what_a_float_holds_is_compared(tmp_path: Path) -> None:
    one, other = write_perplexity(tmp_path / "one", 1.0, 2.0), write_perplexity(tmp_path / "other", 5e5, 9e5)
    done = CliRunner().invoke(compare.command, [str(one), str(other)])
    assert done.exit_code == 0, done.exception


def test_a_probability_above_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="window_nll holds -1, and -ln p is never negative"):
        read_measured(write_perplexity(tmp_path / "one", 1.0, -1.0))


def test_a_text_that_took_no_time_is_refused(tmp_path: Path) -> None:
    path = write_perplexity(tmp_path / "one", 1.0, 2.0) / "perplexity.json"
    path.write_text(path.read_text().replace('"seconds": 1.0', '"seconds": 0'))
    with pytest.raises(InputError, match="it took 0 seconds"):
        read_measured(tmp_path / "one")
