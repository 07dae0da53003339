"""Perplexity by the engine is the perplexity that the model's own code gives, token by token, with torch alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from engine_probe.errors import InputError
from engine_probe.evaluation.precision import engines
from engine_probe.perplexity.perplexity_spec import Quality
from engine_probe.perplexity.scoring import Scoring, log_probabilities, score
from engine_probe.perplexity.text import cut
from engine_probe.perplexity.text_scores import Measured
from engine_probe.recordings.sweep import load_sweep
from tests.support.processes.command import engine_probe

# A text that nobody edits: how many windows it makes does not change.
TEXT = Path(__file__).parents[3] / "LICENSE"

# Prompts come in pieces of 96 tokens, and the second reading of the text finds the first in the prefix cache.
TWICE = """
import msgspec
from engine_probe.perplexity.scoring import score
from engine_probe.perplexity.perplexity_spec import Quality
asked = msgspec.convert(ASKED, Quality)
found = [score(llm, asked, lambda _: None) for _ in range(2)]
answer = [str(llm.llm_engine.model_config.model), *map(msgspec.to_builtins, found)]
"""


def reference(folder: str, asked: Quality, text: Path = TEXT) -> list[float]:
    """What each window costs in nats, by transformers."""
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    windows, _ = cut(tokenizer(text.read_text(encoding="utf-8"))["input_ids"], asked)
    costs = []
    with torch.no_grad():
        for window in windows:
            ids = torch.tensor([window.token_ids])
            told = model(ids).logits[0].log_softmax(-1)[:-1].gather(1, ids[0, 1:, None])
            costs.append(-float(told[window.first_scored - 1 :].double().sum()))
    return costs


@pytest.mark.slow
def test_a_trained_model_in_full_precision_agrees_with_torch(in_own_process: Callable[..., Any]) -> None:
    asked = Quality(str(TEXT), window=256, overlap=64, windows=3)
    arguments = {
        "dtype": "float32",
        "max_model_len": 320,
        "max_num_batched_tokens": 96,
        "max_num_seqs": 8,
        "enable_prefix_caching": True,
        "kv_cache_memory_bytes": 200_000_000,
        "enforce_eager": True,
    }
    lines = f"ASKED = {msgspec.to_builtins(asked)!r}\n{TWICE}"
    folder, *twice = in_own_process("smollm2", arguments, lines)
    first, again = (msgspec.convert(each, Measured) for each in twice)
    assert first.window_nll == pytest.approx(reference(folder, asked), rel=1e-4)
    assert first.window_tokens == [255, 192, 192]
    assert first.window_nll == pytest.approx(again.window_nll, rel=1e-6), "the prefix cache changed the answer"
    assert first.precision.dtype == "float32"


def test_in_bfloat16_it_agrees_as_far_as_that_goes_and_tells_how_far_it_is(tiny_llm: Any) -> None:
    asked = Quality(str(TEXT), window=128, windows=40)
    told: list[Scoring] = []
    found = score(tiny_llm, asked, told.append)
    assert found.window_nll == pytest.approx(reference(found.model, asked), rel=5e-3)
    mean = math.fsum(nll or 0.0 for nll in found.window_nll) / sum(found.window_tokens)
    assert [each.done for each in told] == [0, 16, 32, 40]
    assert told[-1].tokens == sum(found.window_tokens) == 40 * 127
    assert told[-1].nll == pytest.approx(mean * told[-1].tokens)
    assert tiny_llm.llm_engine.has_unfinished_requests() is False


def test_a_window_needs_room_for_the_token_that_vllm_generates(tiny_llm: Any) -> None:
    with pytest.raises(InputError, match="window is 512 tokens, and max_model_len, 512, has to hold one more"):
        score(tiny_llm, Quality(str(TEXT), window=512), lambda _: None)
    assert score(tiny_llm, Quality(str(TEXT), window=511, windows=1), lambda _: None).window_tokens == [510]


def test_each_window_can_begin_as_a_text_does(tiny_llm: Any) -> None:
    """Then every token is scored; a tokenizer that knows no beginning is told apart from one that adds none."""
    found = score(tiny_llm, Quality(str(TEXT), window=128, windows=2, bos="window"), lambda _: None)
    assert found.bos_added
    assert found.window_tokens == [127, 127]
    without = SimpleNamespace(llm_engine=tiny_llm.llm_engine, get_tokenizer=lambda: SimpleNamespace(bos_token_id=None))
    with pytest.raises(InputError, match='bos is "window", and this tokenizer has no BOS token: give "'):
        score(without, Quality(str(TEXT), window=128, bos="window"), lambda _: None)


def test_a_token_without_a_finite_probability_is_counted_and_leaves_no_figure(
    tiny_llm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(llm: Any, windows: Any) -> list[list[float]]:
        first, *rest = log_probabilities(llm, windows)
        return [[math.nan, -math.inf, *first[2:]], *rest]

    monkeypatch.setattr("engine_probe.perplexity.scoring.log_probabilities", broken)
    found = score(tiny_llm, Quality(str(TEXT), window=128, windows=3), lambda _: None)
    assert found.not_finite_tokens == 2
    assert found.window_nll[0] is None
    assert all(nll is not None for nll in found.window_nll[1:])


SWEEP = """
question = "What does bfloat16 cost?"
[engine]
model = "tiny"
[engine.arguments]
max_model_len = 512
num_gpu_blocks_override = 40
block_size = 32
enforce_eager = true
[workload]
input_len = 32
output_len = 16
hold = false
[axes]
"workload.concurrency" = [4]
"engine.arguments.dtype" = ["bfloat16", "float32"]
[quality]
text = "said.txt"
window = 128
"""


@pytest.mark.slow
def test_one_sweep_gives_perplexity_throughput_and_memory_side_by_side(tmp_path: Path) -> None:
    """Two engines; what they said of the text is measured once, and never again."""
    (tmp_path / "precision.toml").write_text(SWEEP)
    (tmp_path / "said.txt").write_text(TEXT.read_text(encoding="utf-8"))

    done = engine_probe("sweep", "precision.toml", "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Effect of precision" in done.stdout
    assert "perplexity, dtype float32:" in done.stderr
    swept = load_sweep(tmp_path / "out")
    base, other = engines(swept)
    assert base.text.measured is not None
    assert base.text.measured.window_nll == pytest.approx(
        reference(base.text.measured.model, base.text.measured.asked), rel=5e-3
    )
    assert other.change is not None
    assert abs(other.change.relative or 0) < 0.05
    assert other.relative_weights == pytest.approx(2, rel=0.01)
    assert (other.relative_rate or 0) > 0
    assert len(swept.points) == 2
    again = engine_probe("sweep", "precision.toml", "--resume", "out", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("measured before") == 4
    assert "starting vLLM" not in again.stderr
