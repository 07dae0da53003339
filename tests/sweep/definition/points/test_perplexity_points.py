"""The text that a sweep's engines predict: one point for each engine, and everything wrong about it said before."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from engine_probe.commands.perplexity import command as perplexity_command
from engine_probe.commands.sweep.cli import command as sweep_command
from engine_probe.errors import InputError
from engine_probe.perplexity.perplexity_spec import Quality
from engine_probe.perplexity.text import text_sha256
from engine_probe.perplexity.text_scores import Measured, Precision, write_measured
from engine_probe.sweep.definition.loader import read_sweep
from engine_probe.sweep.definition.perplexity_points import check_texts, texts
from engine_probe.sweep.definition.sweep_file import points
from engine_probe.sweep.fleet.transfers import datasets_of, reading
from engine_probe.sweep.results.point_results import Scored, finished

GOOD = """
question = "Does float16 cost anything?"
repeats = 3
[engine]
model = "tiny"
[engine.arguments]
max_model_len = 512
[workload]
input_len = 32
output_len = 48
[axes]
"engine.arguments.dtype" = ["bfloat16", "float32"]
"workload.concurrency" = [1, 4]
[quality]
text = "said.txt"
window = 128
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(GOOD)
    return path


def test_each_engine_predicts_it_once(file: Path) -> None:
    sweep = read_sweep(str(file))
    assert len(points(sweep)) == 12
    found = texts(sweep)
    assert [point.label for point in found] == ["perplexity, dtype bfloat16", "perplexity, dtype float32"]
    assert {point.engine.spec for point in found} == {point.engine.spec for point in points(sweep)}
    assert not {point.key for point in found} & {point.key for point in points(sweep)}


def test_its_identity_is_the_engine_and_what_was_asked(file: Path) -> None:
    def keys(*settings: str) -> list[str]:
        return [point.key for point in texts(read_sweep(str(file), settings))]

    assert keys("workload.output_len=8", "repeats=1") == keys()
    assert not set(keys("quality.window=64")) & set(keys())
    assert keys('axes.engine.arguments.dtype=["float32"]') == keys()[1:]


def test_without_a_text_a_point_is_what_it_was(file: Path) -> None:
    file.write_text(GOOD.partition("[quality]")[0])
    assert texts(read_sweep(str(file))) == []
    file.write_text(GOOD)
    assert len({point.key for point in points(read_sweep(str(file)))}) == 12


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("window = 128", "window = 1", "quality.window is 1, expected a whole number"),
        ("window = 128", "windw = 128", "quality.windw is not known: did you mean window"),
        ("window = 128", "window = 512", "quality.window is 512 tokens, and max_model_len, 512, has to hold one more"),
        ("window = 128", "window = 128\noverlap = 128", "quality.overlap is 128 and window 128: nothing new"),
        ("window = 128", 'window = 128\nbos = "each"', 'quality.bos is "each", expected none, tokenizer or window'),
        ('text = "said.txt"', "", "quality.text is missing"),
        ('"tiny"', '"gpt2-xl"', "quality.text: gpt2-xl has dummy weights"),
        ("max_model_len = 512", 'max_model_len = 512\nload_format = "dummy"', "tiny has dummy weights"),
        ("max_model_len = 512", "skip_tokenizer_init = true", "skip_tokenizer_init leaves the model without a token"),
        ("max_model_len = 512", 'logprobs_mode = "raw_logits"', 'logprobs_mode "raw_logits" gives no probability'),
    ],
)
def test_what_is_wrong_is_named(file: Path, old: str, new: str, sentence: str) -> None:
    file.write_text(GOOD.replace(old, new))
    with pytest.raises(InputError) as caught:
        read_sweep(str(file))
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_search_and_a_text_do_not_go_together(file: Path) -> None:
    search = '[adaptive]\naxis = "workload.concurrency"\nfrom = 1\nto = 8\n[quality]'
    file.write_text(GOOD.replace('"workload.concurrency" = [1, 4]\n', "").replace("[quality]", search))
    with pytest.raises(InputError, match=r"quality cannot be measured in a search: leave \[adaptive\] out"):
        read_sweep(str(file))


def test_a_folder_without_a_tokenizer_is_refused(file: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    file.write_text(GOOD.replace('"tiny"', f'"{model}"'))
    with pytest.raises(InputError, match="holds no tokenizer: add one, or name one with tokenizer"):
        read_sweep(str(file))
    (model / "tokenizer.json").write_text("{}")
    assert texts(read_sweep(str(file)))


def test_the_text_itself_is_looked_at_before_an_engine_starts_and_not_by_a_dry_run(file: Path) -> None:
    shown = CliRunner().invoke(sweep_command, [str(file), "--dry-run"], env={"COLUMNS": "160"})
    assert shown.exit_code == 0, shown.output
    assert all(point.label in shown.output for point in texts(read_sweep(str(file))))
    assert "each engine predicts a text: said.txt in windows of 128 tokens" in shown.output
    with pytest.raises(InputError, match=r"quality.text: said.txt: there is no such file: give yours with --set qual"):
        check_texts(texts(read_sweep(str(file))))


def test_what_was_measured_is_not_measured_again(file: Path, tmp_path: Path) -> None:
    text = tmp_path / "said.txt"
    text.write_text("so it was said. " * 20)
    point = texts(read_sweep(str(file), [f"quality.text={text}"]))[0]
    assert finished(tmp_path / point.key, point) is None
    asked = Quality(str(text), window=128)
    told = ("m", "0.32.0", Precision("bfloat16", None, "auto"), asked, text_sha256(text.read_text()), "w")
    write_measured(tmp_path / point.key, Measured(*told, [254.0, 254.0], [127, 127], 0, 3, False, 1.0))
    row = finished(tmp_path / point.key, point)
    assert isinstance(row, Scored)
    assert row.perplexity == pytest.approx(2.718281828**2)
    assert (row.tokens, row.windows, row.reach) == (254, 2, pytest.approx(0))
    assert msgspec.json.decode(msgspec.json.encode(row))["status"] == "complete"
    text.write_text("and then it was said otherwise. " * 20)
    assert finished(tmp_path / point.key, point) is None, "the file holds another text by now"


def test_a_machine_of_a_fleet_gets_the_text(file: Path, tmp_path: Path) -> None:
    (tmp_path / "said.txt").write_text("so it was said")
    point = texts(read_sweep(str(file), [f"quality.text={tmp_path}/said.txt"]))[0]
    sent: set[str] = set()
    assert datasets_of(point, sent) == {f"{tmp_path}/said.txt": b"so it was said"}
    assert datasets_of(point, sent) == {}
    there = reading(point, {point.quality.text: "/scratch/said.txt"})
    assert there.quality is not None
    assert there.quality.text == "/scratch/said.txt"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--text", "nowhere.txt"], "--text nowhere.txt: there is no such file"),
        (["--text", "{file}", "--window", "100000"], "too few for one window of 100,000 tokens"),
        (["--text", "{file}", "--window", "64", "--overlap", "64"], "--overlap is 64 and window 64"),
        (["--text", "{file}", "--window", "64", "--model", "mistral-7b"], "mistral-7b has dummy weights"),
        (["--text", "{file}", "--window", "64", "--max-model-len", "64"], "--window is 64 tokens, and max_model_len"),
        (["--text", "{file}", "--window", "64", "--dtyp", "float32"], "did you mean --dtype"),
    ],
)
def test_the_command_refuses_before_anything_starts(file: Path, words: list[str], sentence: str) -> None:
    done = CliRunner().invoke(perplexity_command, [word.format(file=file) for word in words])
    assert isinstance(done.exception, InputError)
    assert sentence in str(done.exception)
