"""What an engine said of a text, window by window: `perplexity.json`, and nothing in it is derived."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec

from engine_probe.errors import InputError, UnavailableError
from engine_probe.files.atomic_write import atomic_write
from engine_probe.files.safe_read import read_json_as
from engine_probe.perplexity.spec import Quality

QUALITY_FILE = "perplexity.json"


class Precision(msgspec.Struct, frozen=True):
    """What the engine computed with, as vLLM resolved it."""

    dtype: str
    quantization: str | None
    kv_cache_dtype: str
    # Of the checkpoint's own `quantization_config`, what is no table.
    checkpoint: dict[str, str | int | float | bool | None] = {}

    @property
    def words(self) -> str:
        kept = "" if self.kv_cache_dtype == "auto" else f", KV {self.kv_cache_dtype}"
        bits = f" {found}-bit" if isinstance(found := self.checkpoint.get("bits"), int) else ""
        order = ", desc_act" if self.checkpoint.get("desc_act") else ""
        how = f" {self.quantization}{bits}{order}" if self.quantization else ""
        return f"{self.dtype}{how}{kept}"


class Measured(msgspec.Struct, frozen=True):
    """Sums of negative log-likelihoods in nats, each over the scored tokens of one window."""

    model: str
    vllm: str
    precision: Precision
    asked: Quality
    text_sha256: str
    windows_sha256: str  # over token ids and which of them are scored
    window_nll: list[float | None]  # None where a token of it has no finite log-probability
    window_tokens: list[int]
    not_finite_tokens: int
    unused_tokens: int  # at the end of the text, in none of the windows
    bos_added: bool  # whether the first window begins with the tokenizer's own beginning
    seconds: float


def write_measured(folder: Path, found: Measured) -> None:
    """In one step, as a recording's facts are."""
    try:
        folder.mkdir(parents=True)
        atomic_write(folder / QUALITY_FILE, msgspec.json.format(msgspec.json.encode(found)))
    except OSError as error:
        raise UnavailableError(f"cannot write {folder / QUALITY_FILE}: {error.strerror}; free some space") from error


def read_measured(folder: Path) -> Measured:
    path = folder / QUALITY_FILE
    found = read_json_as(path, Measured)
    if not found.window_nll or len(found.window_nll) != len(found.window_tokens) or min(found.window_tokens) < 1:
        raise InputError(f"{path} is not what engine_probe writes: its windows do not go together")
    if wrong := next((nll for nll in found.window_nll if nll is not None and nll < 0), None):
        raise InputError(
            f"{path} is not what engine_probe writes: window_nll holds {wrong:g}, and -ln p is never negative"
        )
    if not 0 < found.seconds < math.inf:
        raise InputError(f"{path} is not what engine_probe writes: it took {found.seconds:g} seconds")
    return found


def facts_of(llm: Any) -> tuple[str, Precision]:
    """The model and what it computes with, of a started `vllm.LLM`."""
    model = llm.llm_engine.model_config
    own = getattr(model.hf_config, "quantization_config", None)
    told = own if isinstance(own, dict) else {}
    plain = {str(name): value for name, value in told.items() if isinstance(value, str | int | float | bool | None)}
    dtype = str(model.dtype).removeprefix("torch.")
    kept_as = str(llm.llm_engine.vllm_config.cache_config.cache_dtype)
    quantization = None if model.quantization is None else str(model.quantization)
    return str(model.model), Precision(dtype, quantization, kept_as, plain)
