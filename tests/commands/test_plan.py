from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from engine_probe.commands.sweep.plan import command
from engine_probe.errors import InputError


def plan(*words: object) -> Result:
    return CliRunner().invoke(command, [str(word) for word in words])


def test_it_compares_gpus() -> None:
    found = plan("--model", "llama-3.1-8b", "--devices", "L4,L40S,H100,H200")
    assert found.exit_code == 0
    assert "Predicted: llama-3.1-8b" in found.output
    assert "L4 cannot start" in found.output
    for name in ("L40S", "H100 80GB HBM3", "H200"):
        assert name in found.output


def test_json_has_each_term_in_bytes(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    found = plan("--model", "falcon-40b", "--device", "H100 NVL", "--tensor-parallel-size", 2, "--json", file)
    assert found.exit_code == 0
    one = json.loads(file.read_text())
    assert one["fits"] is True
    assert one["gpus"] == 2
    assert one["kv_bytes_per_token"] == 2 * 60 * 8 * 64 * 2
    assert one["kv_capacity_tokens"] > 100_000
    used = one["weights_bytes"] + one["activations_and_workspace_bytes"] + one["kv_pool_bytes"]
    assert used == pytest.approx(one["device_bytes"] * one["gpu_memory_utilization"])


def test_an_embedded_model_has_a_plan_before_it_is_prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINE_PROBE_CACHE", str(tmp_path))
    assert "Predicted: tiny" in plan("--model", "tiny", "--device", "L4", "--input-len", 64).output


def test_json_goes_to_standard_output_alone() -> None:
    found = plan("--model", "llama-3.1-8b", "--devices", "L40S,H200", "--json")
    assert [each["device"] for each in json.loads(found.output)["plans"]] == ["L40S", "H200"]


def test_what_does_not_start_still_has_its_capacity() -> None:
    """Beside 67.7 GiB of weights the pool is too small for one request of the model's context."""
    words = ("--model", "llama-3.1-70b-fp8", "--device", "H100 NVL", "--kv-cache-dtype", "fp8", "--json")
    found = json.loads(plan(*words).output)
    assert found["fits"] is False
    assert found["concurrency"] == 0
    assert 50_000 < found["kv_capacity_tokens"] < 131_072


def test_a_page_has_the_chart(tmp_path: Path) -> None:
    page = tmp_path / "plan.html"
    assert plan("--model", "llama-3.1-8b", "--devices", "H100,H200", "--html", page).exit_code == 0
    assert "Throughput at most" in page.read_text()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--model", "llama-3.1-8b", "--device", "H1000"), "memory of such a GPU is not known here"),
        (("--model", "no-such-model", "--device", "H100"), "unknown model 'no-such-model'"),
        (("--model", "org/name", "--device", "H100"), "its configuration is not on this machine"),
        (("--model", "llama-3.1-8b", "--device", ","), "--devices names no GPU"),
        (
            ("--model", "llama-3.1-8b", "--device", "H100", "--max-model-len", 100),
            "come to 768 tokens, and --max-model-len is 100",
        ),
        (("--model", "llama-3.1-8b", "--device", "H100", "--kv-cache-dtype", "int3"), "in int3 is not known here"),
    ],
)
def test_bad_input_is_one_sentence(words: tuple[object, ...], sentence: str) -> None:
    found = plan(*words)
    assert isinstance(found.exception, InputError)
    assert sentence in str(found.exception)
