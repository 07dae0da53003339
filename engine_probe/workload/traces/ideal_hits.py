"""The prompt tokens that a prefix cache without limits would hold, of prompts that are known before the run."""

import hashlib
from array import array

from engine_probe.workload.request_plan import Plan


def ideal_hits(plan: Plan, block_tokens: int) -> dict[str, int]:
    """Return for each request that is a whole prompt the tokens that it shares, from the start, with one before it.

    Before it are the first prompts of sessions planned earlier, and the earlier turns of its own. As vLLM counts them:
    in whole blocks, and never the whole prompt, whose last token has to be computed.
    """
    first_prompts = set[bytes]()
    hits = {}
    for session in plan.sessions:
        own = set[bytes]()
        for turn, request in enumerate(session.requests):
            if turn and not request.whole:
                break
            names = block_names(request.prompt_token_ids, block_tokens)
            known = (place for place, name in enumerate(names) if name not in first_prompts and name not in own)
            shared = next(known, len(names))
            hits[request.id] = min(shared, (len(request.prompt_token_ids) - 1) // block_tokens) * block_tokens
            (own if turn else first_prompts).update(names)
    return hits


def block_names(token_ids: list[int], block_tokens: int) -> list[bytes]:
    """Return a name for each whole block of a prompt, which depends on all tokens up to the block's end."""
    names, so_far = [], hashlib.sha256()
    for end in range(block_tokens, len(token_ids) + 1, block_tokens):
        so_far.update(array("q", token_ids[end - block_tokens : end]).tobytes())
        names.append(so_far.digest())
    return names
