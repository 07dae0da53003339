"""Scoring windows with a started engine, by vLLM's log-probabilities of a prompt's tokens."""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from engine_probe.errors import InputError
from engine_probe.perplexity.perplexity_spec import Quality
from engine_probe.perplexity.text import Window, checksum, cut, read_text, text_sha256
from engine_probe.perplexity.text_scores import Measured, facts_of
from engine_probe.perplexity.word_perplexity import documents, rolling

TOKENS_AT_ONCE = 2048
LOGITS = ("raw_logits", "processed_logits")  # modes in which vLLM returns no probabilities


class Scoring(msgspec.Struct, frozen=True, tag=True):
    """Holds the progress of scoring."""

    windows: int  # in all
    done: int
    tokens: int  # scored so far, in windows without a missing probability
    nll: float  # their negative log-likelihood, summed
    seconds: float


def score(llm: Any, quality: Quality, tell: Callable[[Scoring], None]) -> Measured:
    """Score every window once, reporting progress to `tell`; refuse an engine that cannot score the text."""
    text = read_text(quality, "quality.text: ")
    pieces = (by_document if quality.per == "word" else by_window)(llm, quality, text)
    windows = pieces.windows
    check_engine(llm, quality)
    model, precision = facts_of(llm)
    started = time.monotonic()
    sums: list[float | None] = []
    not_finite = tokens = 0
    batch_size = windows_at_once(llm, quality.window)
    tell(Scoring(len(windows), 0, 0, 0.0, 0.0))
    for first in range(0, len(windows), batch_size):
        batch = windows[first : first + batch_size]
        for window, logprobs in zip(batch, log_probabilities(llm, batch), strict=True):
            missing = sum(not math.isfinite(value) for value in logprobs)
            not_finite += missing
            sums.append(None if missing else -math.fsum(logprobs))
            tokens += 0 if missing else window.scored
        nll = math.fsum(window_nll for window_nll in sums if window_nll is not None)
        tell(Scoring(len(windows), len(sums), tokens, nll, time.monotonic() - started))
    from vllm import __version__

    return Measured(
        model=model,
        vllm=__version__,
        precision=precision,
        asked=quality,
        text_sha256=text_sha256(text),
        windows_sha256=checksum(windows),
        window_nll=sums,
        window_tokens=[window.scored for window in windows],
        not_finite_tokens=not_finite,
        unused_tokens=pieces.unused_tokens,
        bos_added=pieces.bos_added,
        seconds=time.monotonic() - started,
        words=pieces.words,
        documents=pieces.documents,
    )


class Pieces(NamedTuple):
    """Holds what is scored of a text."""

    windows: list[Window]
    unused_tokens: int
    bos_added: bool
    words: int | None = None
    documents: int | None = None


def by_window(llm: Any, quality: Quality, text: str) -> Pieces:
    token_ids, bos, added = encoded(llm, quality, text)
    return Pieces(*cut(token_ids, quality, bos), added)


def by_document(llm: Any, quality: Quality, text: str) -> Pieces:
    """Cut the documents of a text into rolling windows; the first token of each is predicted after BOS, or else EOS."""
    check_tokenizer(llm, quality)
    tokenizer = llm.get_tokenizer()
    prefix = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    if prefix is None:
        raise InputError('per = "word" predicts the first token after BOS or EOS, and this tokenizer has neither')
    found = documents(text)
    ids = [list(tokenizer.encode(document.text, add_special_tokens=False)) for document in found]
    windows = [window for tokens in ids for window in rolling(tokens, prefix, quality.window)]
    return Pieces(windows, 0, True, sum(document.words for document in found), len(found))


def log_probabilities(llm: Any, windows: Sequence[Window]) -> list[list[float]]:
    """Return the log-probabilities of each window's scored tokens.

    vLLM does not read its prefix cache for such requests. It generates at least one token, which is ignored.
    `prompt_logprobs = 0` returns only the prompt's own tokens, so nothing is sorted and little is sent. While a window
    is scored, its logits are on the device in float32.
    """
    from vllm import SamplingParams

    parameters = SamplingParams(max_tokens=1, temperature=0.0, prompt_logprobs=0, detokenize=False)
    prompts = [{"prompt_token_ids": window.token_ids} for window in windows]
    outputs = llm.generate(prompts, parameters, use_tqdm=False)
    return [
        [
            output.prompt_logprobs[position][window.token_ids[position]].logprob
            for position in range(window.first_scored, len(window.token_ids))
        ]
        for window, output in zip(windows, outputs, strict=True)
    ]


def windows_at_once(llm: Any, window: int) -> int:
    """Return how many windows to score together: few, so that progress shows on a slow machine.

    Engines agree on it unless `max_num_seqs` is smaller, because the batch may change the last digits of a figure.
    """
    limits = llm.llm_engine.vllm_config.scheduler_config
    return max(1, min(TOKENS_AT_ONCE // window, int(limits.max_num_seqs)))


def encoded(llm: Any, quality: Quality, text: str) -> tuple[list[int], int | None, bool]:
    """Return the text's token ids, the tokenizer's BOS token, and whether windows begin with it."""
    check_tokenizer(llm, quality)
    tokenizer = llm.get_tokenizer()
    bos = tokenizer.bos_token_id
    if quality.bos == "window" and bos is None:
        raise InputError('bos is "window", and this tokenizer has no BOS token: give "none"')
    token_ids = list(tokenizer.encode(text, add_special_tokens=quality.bos == "tokenizer"))
    return token_ids, bos, quality.bos == "window" or (bos is not None and token_ids[:1] == [bos])


def check_tokenizer(llm: Any, quality: Quality) -> None:
    if llm.llm_engine.model_config.skip_tokenizer_init:
        raise InputError(
            f"{quality.text} is text, and this model has no tokenizer: give a folder with one, or tokenizer"
        )


def check_engine(llm: Any, quality: Quality) -> None:
    model = llm.llm_engine.model_config
    if model.logprobs_mode in LOGITS:
        raise InputError(f'logprobs_mode is "{model.logprobs_mode}", which gives no probabilities: leave it out')
    check_window(quality, model.max_model_len)


def check_window(
    quality: Quality, longest: int, where: str = "", name: str = "max_model_len", way_out: str = "or raise it"
) -> None:
    """Refuse a window that leaves no room for the one token that vLLM generates after it."""
    if quality.window >= longest:
        raise InputError(
            f"{where}window is {quality.window:,} tokens, and {name}, {longest:,}, has to hold one more, which vLLM "
            f"generates: give at most {longest - 1:,}, {way_out}"
        )
