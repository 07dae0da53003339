"""The prompt tokens that a prefix cache without limits would hold when a session begins."""

import hashlib
from array import array

from engine_probe.workload.request_plan import Plan


def ideal_first_hits(plan: Plan, block_tokens: int) -> dict[str, int]:
    """Return for each session's first request the tokens that it shares, from the start, with one planned before it.

    As vLLM counts them: in whole blocks, and never the whole prompt, whose last token has to be computed.
    """
    known = set[bytes]()
    hits = {}
    for session in plan.sessions:
        request = session.requests[0]
        names = block_names(request.prompt_token_ids, block_tokens)
        shared = next((place for place, name in enumerate(names) if name not in known), len(names))
        hits[request.id] = min(shared, (len(request.prompt_token_ids) - 1) // block_tokens) * block_tokens
        known.update(names)
    return hits


def block_names(token_ids: list[int], block_tokens: int) -> list[bytes]:
    """Return a name for each whole block of a prompt, which depends on all tokens up to the block's end."""
    names, so_far = [], hashlib.sha256()
    for end in range(block_tokens, len(token_ids) + 1, block_tokens):
        so_far.update(array("q", token_ids[end - block_tokens : end]).tobytes())
        names.append(so_far.digest())
    return names
