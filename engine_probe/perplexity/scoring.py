"""Windows scored by a started engine: vLLM's own log-probabilities of the tokens of a prompt."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from engine_probe.errors import InputError
from engine_probe.perplexity.results import Measured, facts_of
from engine_probe.perplexity.spec import Quality
from engine_probe.perplexity.text import read_text, text_sha256
from engine_probe.perplexity.windows import Window, checksum, cut

TOKENS_AT_ONCE = 2048
LOGITS = ("raw_logits", "processed_logits")  # modes in which vLLM gives no probabilities


class Scoring(msgspec.Struct, frozen=True, tag=True):
    """How far it is."""

    windows: int  # in all
    done: int
    tokens: int  # scored so far
    nll: float  # their sum, of the windows whose every token has one
    seconds: float


def score(llm: Any, asked: Quality, tell: Callable[[Scoring], None]) -> Measured:
    """Every window once; what cannot be asked of this engine is refused."""
    text = read_text(asked, "quality.text: ")
    token_ids, bos, added = encoded(llm, asked, text)
    windows, unused = cut(token_ids, asked, bos)
    check_engine(llm, asked)
    model, precision = facts_of(llm)
    began = time.monotonic()
    sums: list[float | None] = []
    broken = tokens = 0
    each = at_once(llm, asked.window)
    tell(Scoring(len(windows), 0, 0, 0.0, 0.0))
    for first in range(0, len(windows), each):
        some = windows[first : first + each]
        for window, found in zip(some, log_probabilities(llm, some), strict=True):
            lost = sum(not math.isfinite(value) for value in found)
            broken += lost
            sums.append(None if lost else -math.fsum(found))
            tokens += 0 if lost else window.scored
        nll = math.fsum(one for one in sums if one is not None)
        tell(Scoring(len(windows), len(sums), tokens, nll, time.monotonic() - began))
    from vllm import __version__

    return Measured(
        model=model,
        vllm=__version__,
        precision=precision,
        asked=asked,
        text_sha256=text_sha256(text),
        windows_sha256=checksum(windows),
        window_nll=sums,
        window_tokens=[window.scored for window in windows],
        not_finite_tokens=broken,
        unused_tokens=unused,
        bos_added=added,
        seconds=time.monotonic() - began,
    )


def log_probabilities(llm: Any, windows: Sequence[Window]) -> list[list[float]]:
    """Of the scored tokens of each.

    vLLM reads nothing out of its prefix cache for such requests. It answers with at least one token, which is drawn
    and thrown away. `prompt_logprobs = 0` asks for the prompt's own tokens alone, so nothing is sorted and little is
    sent; the logits of one window's step exist on the device in float32 while it is scored.
    """
    from vllm import SamplingParams

    parameters = SamplingParams(max_tokens=1, temperature=0.0, prompt_logprobs=0, detokenize=False)
    asked = [{"prompt_token_ids": window.token_ids} for window in windows]
    answers = llm.generate(asked, parameters, use_tqdm=False)
    return [
        [
            answer.prompt_logprobs[place][window.token_ids[place]].logprob
            for place in range(window.first_scored, len(window.token_ids))
        ]
        for window, answer in zip(windows, answers, strict=True)
    ]


def at_once(llm: Any, window: int) -> int:
    """Few enough for progress to show on a slow machine, enough to fill a fast one; alike on all engines that can."""
    limits = llm.llm_engine.vllm_config.scheduler_config
    return max(1, min(TOKENS_AT_ONCE // window, int(limits.max_num_seqs)))


def encoded(llm: Any, asked: Quality, text: str) -> tuple[list[int], int | None, bool]:
    """The token ids of the whole text, the token that begins a text, and whether they begin with it."""
    if llm.llm_engine.model_config.skip_tokenizer_init:
        raise InputError(f"{asked.text} is text, and this model has no tokenizer: give a folder with one, or tokenizer")
    tokenizer = llm.get_tokenizer()
    bos = tokenizer.bos_token_id
    if asked.bos == "window" and bos is None:
        raise InputError('bos is "window", and this tokenizer has no token for the beginning: give "none"')
    token_ids = list(tokenizer.encode(text, add_special_tokens=asked.bos == "tokenizer"))
    return token_ids, bos, asked.bos == "window" or (bos is not None and token_ids[:1] == [bos])


def check_engine(llm: Any, asked: Quality) -> None:
    model = llm.llm_engine.model_config
    if model.logprobs_mode in LOGITS:
        raise InputError(f'logprobs_mode is "{model.logprobs_mode}", no probabilities: leave it out')
    check_window(asked, model.max_model_len)


def check_window(
    asked: Quality, longest: int, where: str = "", name: str = "max_model_len", way_out: str = "or raise it"
) -> None:
    """vLLM generates at least one token after a prompt."""
    if asked.window >= longest:
        raise InputError(
            f"{where}window is {asked.window:,} tokens, and {name}, {longest:,}, has to hold one more, which vLLM "
            f"generates: give at most {longest - 1:,}, {way_out}"
        )
