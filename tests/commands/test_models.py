"""`engine_probe models` on a narrow screen, on a wide one, in a pipe and as JSON."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from engine_probe.commands.models import all_models, command, count


def shown(monkeypatch: pytest.MonkeyPatch, columns: int | None) -> list[str]:
    if columns is None:
        monkeypatch.delenv("COLUMNS", raising=False)
    else:
        monkeypatch.setenv("COLUMNS", str(columns))
    result = CliRunner().invoke(command)
    assert result.exit_code == 0
    return result.output.splitlines()


@pytest.mark.parametrize("columns", [80, 120, None])
def test_nothing_is_cut_and_nothing_is_too_wide(monkeypatch: pytest.MonkeyPatch, columns: int | None) -> None:
    lines = shown(monkeypatch, columns)
    assert max(len(line.rstrip()) for line in lines) <= (columns or 120)
    assert "…" not in "".join(lines)
    for model in all_models():
        assert any(line.split()[:1] == [model.name] for line in lines)
        assert any(line.rstrip().endswith(model.source) for line in lines)


def test_a_pipe_has_one_line_per_model(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = shown(monkeypatch, None)
    (gpt2,) = [line for line in lines if line.startswith("gpt2-xl")]
    assert gpt2.split() == [
        "gpt2-xl",
        "1.56B",
        "MHA",
        "48",
        "25",
        "64",
        "300.0",
        "2.90",
        "1k",
        "openai-community/gpt2-xl",
    ]


def test_json_has_bytes_and_says_how_each_was_checked() -> None:
    result = CliRunner().invoke(command, ["--json"])
    models = {model["name"]: model for model in json.loads(result.output)}
    assert models["gpt2-xl"]["kv_bytes_per_token"] == 307_200
    assert models["gpt2-xl"]["parameters"] == 1_557_611_200
    assert models["llama-3.1-70b-fp8"]["quantized"]
    assert "2.9676 GiB" in models["gpt2-xl"]["note"]
    assert models["smollm2"]["parameters"] == 134_515_008


def test_embedded_models_say_whether_they_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINE_PROBE_CACHE", str(tmp_path))
    assert {model.note for model in all_models()[:2]} == {"prepared at first use"}
    assert not list(tmp_path.iterdir())


@pytest.mark.lengthy
def test_it_loads_neither_torch_nor_vllm() -> None:
    program = (
        "import sys; from engine_probe.commands.models import command;"
        "command(['--json'], standalone_mode=False);"
        "print([name for name in ('torch', 'vllm', 'transformers') if name in sys.modules], file=sys.stderr)"
    )
    environment = {**os.environ, "PYTHONWARNINGS": "default"}
    outcome = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert outcome.stderr.strip().splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        (999, "999"),
        (377_472, "377k"),
        (134_515_008, "135M"),
        (8_030_261_248, "8.03B"),
        (13_015_864_320, "13.0B"),
    ],
)
def test_parameters_are_counted_as_people_say_them(parameters: int, text: str) -> None:
    assert count(parameters) == text


class TestPath:
    @pytest.fixture(autouse=True)
    def _own_cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ENGINE_PROBE_CACHE", str(tmp_path))

    @pytest.mark.parametrize("name", ["tiny", "gpt2-xl"])
    def test_is_a_folder_that_is_there(self, name: str) -> None:
        result = CliRunner().invoke(command, ["--path", name])
        assert result.exit_code == 0
        (line,) = result.stdout.splitlines()
        assert (Path(line) / "config.json").is_file()

    def test_of_an_unknown_model_is_refused(self) -> None:
        result = CliRunner().invoke(command, ["--path", "tinny"])
        assert str(result.exception) == "--path tinny: not a listed model: did you mean tiny?"
