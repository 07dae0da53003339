"""Drives an engine's own step loop, so that requests arrive while it generates."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def closed_loop(engine: Any, prompts: Iterable[list[int]], parameters: Any, most_in_flight: int) -> None:
    """Answer every prompt, holding so many in flight: as one is answered the next is handed over.

    `engine` is vLLM's `LLMEngine` in this process, `parameters` its `SamplingParams`.
    """
    waiting = enumerate(prompts)
    in_flight, more = 0, True
    while more or in_flight:
        while more and in_flight < most_in_flight:
            request = next(waiting, None)
            if request is None:
                more = False
                break
            number, ids = request
            engine.add_request(str(number), {"prompt_token_ids": ids}, parameters)
            in_flight += 1
        in_flight -= sum(output.finished for output in engine.step())
