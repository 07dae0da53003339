"""`tiny` has the same bytes on every machine, and transformers reads the intended model from them."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

import engine_probe
from engine_probe import InputError
from engine_probe.engine.models import tiny
from engine_probe.engine.models.embedded import tiny_folder
from engine_probe.engine.models.geometry import geometry

# Another digest means other weights: then raise the recipe's number, so that caches are filled anew.
WEIGHTS_SHA256 = "30e855d600e2b21d8931f25e56f8c12eb59b8f616bcf32023e5372c11fae237c"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny.write_tiny(tmp_path)
    return tmp_path


def test_the_weights_are_the_same_bytes_on_every_machine(folder: Path) -> None:
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert digest == WEIGHTS_SHA256


def test_it_has_a_folder_that_vllm_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINE_PROBE_CACHE", str(tmp_path))
    assert Path(engine_probe.embedded_model("tiny"), "config.json").is_file()
    with pytest.raises(InputError, match="there is no embedded model 'tinny': give tiny"):
        engine_probe.embedded_model("tinny")


def test_the_cache_gives_the_same_folder_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINE_PROBE_CACHE", str(tmp_path))
    first = tiny_folder()
    assert (first / "config.json").is_file()
    assert tiny_folder() == first


def test_bfloat16_rounds_to_the_nearest_even() -> None:
    one, step = 0x3F80, 2.0**-7  # 1.0, and the distance to the next bfloat16
    values = np.array([1.0, 1 + step, 1 + step / 2, 1 + 3 * step / 2, -1.0, 0.0])
    words = np.frombuffer(tiny._bfloat16(values), "<u2").tolist()
    assert words == [one, one + 1, one, one + 2, one | 0x8000, 0]


def test_each_tensor_is_written_whole(folder: Path) -> None:
    raw = (folder / "model.safetensors").read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    header.pop("__metadata__")
    parameters = sum(int(np.prod(tensor["shape"])) for tensor in header.values())
    assert parameters == geometry(tiny.CONFIG).parameters
    assert len(raw) == 8 + length + 2 * parameters


@pytest.mark.lengthy
class TestAsTransformersReadsIt:
    @pytest.fixture(autouse=True)
    def _needs_transformers(self) -> None:
        pytest.importorskip("transformers")

    def test_text_survives_the_tokenizer(self, folder: Path) -> None:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(folder)
        text = "The thing: über, 日本, \t2 + 2 = 4\n"
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.decode(ids) == text
        assert len(ids) < len(text.encode())
        assert max(ids) < tiny.VOCABULARY

    def test_a_chat_becomes_a_prompt(self, folder: Path) -> None:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(folder)
        chat = [{"role": "user", "content": "hi"}]
        prompt = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        assert prompt == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"

    def test_greedy_answers_depend_on_the_prompt_and_do_not_get_stuck(self, folder: Path) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        answers = []
        for prompt in ([1, 2, 3], [3, 2, 1], [200, 201]):
            ids = torch.tensor([prompt])
            answer = model.generate(ids, max_new_tokens=64, do_sample=False, eos_token_id=None, pad_token_id=0)
            answers.append(answer[0, len(prompt) :].tolist())
        assert len({tuple(answer) for answer in answers}) == 3
        assert all(len(set(answer)) > 24 for answer in answers)
