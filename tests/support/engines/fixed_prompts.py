"""Prompts that are the same each time, and what an engine answers to them."""

from typing import Any


def prompt(seed: int, length: int) -> list[int]:
    return [10 + (seed * 7 + position * (1 + seed % 3)) % 200 for position in range(length)]


def greedy(tokens: int, **more: Any) -> Any:
    from vllm import SamplingParams

    return SamplingParams(max_tokens=tokens, ignore_eos=more.pop("ignore_eos", True), temperature=0, **more)


def generate(llm: Any, count: int = 24, tokens: int = 60) -> list[Any]:
    from vllm import SamplingParams

    prompts = [{"prompt_token_ids": [10 + (i * 7 + j) % 200 for j in range(40 + i)]} for i in range(count)]
    parameters = SamplingParams(max_tokens=tokens, ignore_eos=True, temperature=0)
    return llm.generate(prompts, parameters, use_tqdm=False)


def tokens_of(outputs: list[Any]) -> list[list[int]]:
    return [list(output.outputs[0].token_ids) for output in outputs]
