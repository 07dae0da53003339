"""The scores of a text, window by window, as `perplexity.json` holds them."""

import math
from pathlib import Path
from typing import Any

import msgspec

from engine_probe.errors import InputError
from engine_probe.files.new_file import atomic_write, writing
from engine_probe.files.safe_read import read_json_as
from engine_probe.perplexity.perplexity_spec import Quality

QUALITY_FILE = "perplexity.json"


class Precision(msgspec.Struct, frozen=True):
    """Holds the number formats that the engine computed with, as vLLM resolved them."""

    dtype: str
    quantization: str | None
    kv_cache_dtype: str
    checkpoint: dict[str, str | int | float | bool | None] = {}  # plain values of its `quantization_config`

    @property
    def words(self) -> str:
        kv = "" if self.kv_cache_dtype == "auto" else f", KV {self.kv_cache_dtype}"
        bits = self.checkpoint.get("bits")
        width = f" {bits}-bit" if isinstance(bits, int) else ""
        order = ", desc_act" if self.checkpoint.get("desc_act") else ""
        method = f" {self.quantization}{width}{order}" if self.quantization else ""
        return f"{self.dtype}{method}{kv}"


class Measured(msgspec.Struct, frozen=True):
    """Holds what was measured; each negative log-likelihood is a sum in nats over a window's scored tokens."""

    model: str
    vllm: str
    precision: Precision
    asked: Quality
    text_sha256: str
    windows_sha256: str  # over the token ids and which of them are scored
    window_nll: list[float | None]  # None if a token of the window has no finite log-probability
    window_tokens: list[int]  # scored ones
    not_finite_tokens: int
    unused_tokens: int  # at the end of the text, after the last window
    bos_added: bool  # whether the first window begins with the tokenizer's BOS token
    seconds: float
    words: int | None = None  # of the documents; None unless asked for
    documents: int | None = None


def write_measured(folder: Path, measured: Measured) -> None:
    """Make the folder and write `perplexity.json` atomically."""
    with writing(folder / QUALITY_FILE):
        folder.mkdir(parents=True)
        atomic_write(folder / QUALITY_FILE, msgspec.json.format(msgspec.json.encode(measured)))


def read_measured(folder: Path) -> Measured:
    """Read `perplexity.json`; refuse values that engine_probe never writes."""
    path = folder / QUALITY_FILE
    measured = read_json_as(path, Measured)
    sizes = measured.window_tokens
    if not measured.window_nll or len(measured.window_nll) != len(sizes) or min(sizes) < 1:
        raise InputError(f"{path} is not what engine_probe writes: its windows do not go together")
    if negative := next((nll for nll in measured.window_nll if nll is not None and nll < 0), None):
        raise InputError(
            f"{path} is not what engine_probe writes: window_nll holds {negative:g}, and -ln p is never negative"
        )
    if (measured.words is None) != (measured.documents is None) or min(
        measured.words or 1, measured.documents or 1
    ) < 1:
        raise InputError(f"{path} is not what engine_probe writes: its words and documents do not go together")
    if not 0 < measured.seconds < math.inf:
        raise InputError(f"{path} is not what engine_probe writes: it took {measured.seconds:g} seconds")
    return measured


def facts_of(llm: Any) -> tuple[str, Precision]:
    """Return the model's name and the number formats of a started `vllm.LLM`."""
    model = llm.llm_engine.model_config
    config = getattr(model.hf_config, "quantization_config", None)
    fields = config.items() if isinstance(config, dict) else ()
    checkpoint = {str(name): value for name, value in fields if isinstance(value, str | int | float | bool | None)}
    dtype = str(model.dtype).removeprefix("torch.")
    kv_cache_dtype = str(llm.llm_engine.vllm_config.cache_config.cache_dtype)
    quantization = None if model.quantization is None else str(model.quantization)
    return str(model.model), Precision(dtype, quantization, kv_cache_dtype, checkpoint)
