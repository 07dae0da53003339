"""Conversations as token ids, by a model's own chat template."""

from typing import Any

from engine_probe.errors import InputError
from engine_probe.files.safe_read import reason
from engine_probe.workload.question_set.question_prompts import EncodeChat, Messages

ANSWER = "⟦answer⟧"  # stands for an unknown answer


def chat_encoder(tokenizer: Any, path: str) -> EncodeChat:
    """Return a function from a conversation to the new tokens of each of its turns.

    The tokens of a later turn begin with the end of the answer before it.
    """
    if not tokenizer.chat_template:
        raise InputError(f"{path} asks questions, but this model has no chat template: use one that was taught to chat")

    def encode(messages: Messages) -> list[list[int]]:
        known: Messages = []
        turns = list[list[int]]()
        for message in messages:
            known.append(message)
            if message["role"] == "user":
                turns.append(new_tokens(tokenizer, known, path, first=not turns))
                known.append({"role": "assistant", "content": ANSWER})
        return turns

    return encode


def new_tokens(tokenizer: Any, messages: Messages, path: str, first: bool) -> list[int]:
    try:
        if first:
            return list(tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False))
        text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    except Exception as error:  # of a template, which is a program of the model's makers
        raise InputError(f"{path}: this model's chat template refuses a conversation ({reason(error)})") from error
    _, found, after = text.rpartition(ANSWER)
    if not found:
        raise InputError(f"{path}: this model's chat template leaves out earlier answers, so no second turn can follow")
    return list(tokenizer.encode(after, add_special_tokens=False))
