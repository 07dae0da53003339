"""The model `tiny`: a two-layer Llama with seeded random weights and a byte-level tokenizer, written in milliseconds.

The weights are made from integers of a stable bit generator by exact arithmetic, so every machine writes the same
bytes, and neither torch nor transformers is needed.
"""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SEED = 20_260_101
HIDDEN, HEADS, KV_HEADS, HEAD_SIZE, LAYERS, FEED_FORWARD = 128, 4, 2, 32, 2, 256

# Frequent English pairs, so that a text has fewer tokens than bytes, as with a real tokenizer.
_PAIRS = (
    "th he in er an re on at en nd ti es or te of ed is it al ar st to nt ng se ha as ou io le "
    "ve co me de hi ri ro ic ne ea ra ce li ch ll be ma si om ur ca el ta la ns di fo ho pe ec"
)
MERGES = _PAIRS.split()
SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>")
VOCABULARY = 256 + len(MERGES) + len(SPECIALS)
END = VOCABULARY - 2  # <|im_end|>

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": VOCABULARY,
    "hidden_size": HIDDEN,
    "intermediate_size": FEED_FORWARD,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "head_dim": HEAD_SIZE,
    "hidden_act": "silu",
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-05,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "attention_bias": False,
    "mlp_bias": False,
    "bos_token_id": VOCABULARY - 4,
    "eos_token_id": END,
    "pad_token_id": VOCABULARY - 1,
    "torch_dtype": "bfloat16",
}


def recipe() -> list[object]:
    """Return all that decides the folder's content; a change makes a new folder."""
    return ["tiny", 1, SEED, CONFIG]


def write_tiny(folder: Path) -> None:
    """Write the model folder: configuration, weights and tokenizer."""
    _write_json(folder / "config.json", CONFIG)
    _write_json(folder / "generation_config.json", {"eos_token_id": END, "pad_token_id": VOCABULARY - 1})
    _write_json(folder / "tokenizer.json", _tokenizer())
    _write_json(folder / "tokenizer_config.json", _tokenizer_config())
    _write_safetensors(folder / "model.safetensors", dict(_weights()))


def _weights() -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Yield the tensors; their scales keep activations near one, and attention and logits sharp enough to differ."""
    bits = np.random.PCG64(SEED)
    attention, key_value = HEADS * HEAD_SIZE, KV_HEADS * HEAD_SIZE
    yield "model.embed_tokens.weight", _uniform(bits, VOCABULARY, HIDDEN, 1.0)
    for layer in range(LAYERS):
        at = f"model.layers.{layer}"
        yield f"{at}.input_layernorm.weight", np.ones(HIDDEN)
        yield f"{at}.self_attn.q_proj.weight", _uniform(bits, attention, HIDDEN, 1.5 * HIDDEN**-0.5)
        yield f"{at}.self_attn.k_proj.weight", _uniform(bits, key_value, HIDDEN, 1.5 * HIDDEN**-0.5)
        yield f"{at}.self_attn.v_proj.weight", _uniform(bits, key_value, HIDDEN, 2.0 * HIDDEN**-0.5)
        yield f"{at}.self_attn.o_proj.weight", _uniform(bits, HIDDEN, attention, 2.0 * attention**-0.5)
        yield f"{at}.post_attention_layernorm.weight", np.ones(HIDDEN)
        yield f"{at}.mlp.gate_proj.weight", _uniform(bits, FEED_FORWARD, HIDDEN, HIDDEN**-0.5)
        yield f"{at}.mlp.up_proj.weight", _uniform(bits, FEED_FORWARD, HIDDEN, HIDDEN**-0.5)
        yield f"{at}.mlp.down_proj.weight", _uniform(bits, HIDDEN, FEED_FORWARD, FEED_FORWARD**-0.5)
    yield "model.norm.weight", np.ones(HIDDEN)
    yield "lm_head.weight", _uniform(bits, VOCABULARY, HIDDEN, 4.0 * HIDDEN**-0.5)


def _uniform(bits: np.random.PCG64, rows: int, columns: int, deviation: float) -> NDArray[np.float64]:
    """Draw uniform values of the given standard deviation from raw bits, whose stream numpy never changes."""
    unit = (bits.random_raw(rows * columns) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    values: NDArray[np.float64] = (unit * 2.0 - 1.0) * (3.0**0.5 * deviation)
    return values.reshape(rows, columns)


def _bfloat16(values: NDArray[np.float64]) -> bytes:
    """Convert to bfloat16: the upper half of each float32, rounded to the nearest even."""
    words = values.astype("<f4").view("<u4")
    rounded = words + np.uint32(0x7FFF) + ((words >> np.uint32(16)) & np.uint32(1))
    return (rounded >> np.uint32(16)).astype("<u2").tobytes()


def _write_safetensors(path: Path, tensors: dict[str, NDArray[np.float64]]) -> None:
    """Write the safetensors format: eight bytes of header length, a JSON header, the raw tensors."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    start = 0
    for name, values in tensors.items():
        end = start + 2 * values.size
        header[name] = {"dtype": "BF16", "shape": list(values.shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for values in tensors.values():
            file.write(_bfloat16(values))


def _byte_symbols() -> list[str]:
    """Return the printable character that byte-level BPE writes for each byte."""
    shown = {*range(33, 127), *range(161, 173), *range(174, 256)}
    hidden = [byte for byte in range(256) if byte not in shown]
    return [chr(byte) if byte in shown else chr(256 + hidden.index(byte)) for byte in range(256)]


def _tokenizer() -> dict[str, Any]:
    vocabulary = {token: number for number, token in enumerate([*_byte_symbols(), *MERGES])}
    first = len(vocabulary)
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{**_special(token), "id": first + number} for number, token in enumerate(SPECIALS)],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": vocabulary,
            "merges": [f"{pair[0]} {pair[1]}" for pair in MERGES],
        },
    }


def _special(token: str) -> dict[str, Any]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {"content": token, **flags}


def _tokenizer_config() -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": CONFIG["max_position_embeddings"],
        "bos_token": "<|endoftext|>",
        "eos_token": "<|im_end|>",
        "pad_token": "<|pad|>",
        "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
    }


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
