"""Which lengths of answers fill the KV pools of the published concurrency sweeps where the document says they filled.

    python -m tools.shipped_data.answer_lengths

The document gives each pool's tokens and the load that filled it; the quotient is what a request held at the peak. It
says "at most 512" of the answers. For each kind of distribution the one free parameter is solved for, so that

    max over k of (tokens in blocks of a request after k output tokens) * (share of the answers longer than k - 1)

is that quotient: all N requests come at once and run side by side. Prompts are 128 tokens, the same for all (the
document's listing, "Hello " * 128: seven of their eight blocks are then held once) or all different. The last columns
are for what the document tells besides: how many run when the highest load has filled the pool (at most 1,024 run at
once, so that the last of 1,200 come later), and after what multiple of that time the first tenth has ended.
"""

import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import NormalDist

PROMPT, MOST, BLOCK = 128, 512, 16
SHARED_BLOCKS = (PROMPT - 1) // BLOCK  # vLLM computes a prompt's last token always, and so its last block
SIGMA = 0.5  # of the lognormal, whose median is solved for

Survival = Callable[[int], float]  # k -> the share of answers of more than k tokens


@dataclass(frozen=True)
class Pool:
    """Holds what was published of a model: its pool, the load that filled it, and the highest load."""

    model: str
    tokens: int
    filled_at: float
    source: str
    highest: int


POOLS = (
    Pool("gpt2-xl", 268_208, 1000, "full near 1,000; 20, 40, 60 % at 200, 400, 600 are the same", 1024),
    Pool("deepseek-llm-7b-chat", 141_808, 400 / 0.9, "90 % at 400, full at the next level, 500", 600),
    Pool("qwen1.5-14b-chat", 64_912, 127.5, "full at 125 to 130", 160),
    Pool("falcon-40b", 18_688, 200, "not full at 160; plotted at about 200", 160),
)


def fixed(length: float) -> Survival:
    return lambda k: float(k < length)


def uniform(high: float) -> Survival:
    return lambda k: max(0.0, 1 - k / high)


def geometric(mean: float) -> Survival:
    return lambda k: (1 - 1 / mean) ** k


def lognormal(median: float) -> Survival:
    normal = NormalDist(math.log(median), SIGMA)
    return lambda k: 1 - normal.cdf(math.log(k + 0.5))


KINDS: dict[str, tuple[Callable[[float], Survival], str, float]] = {  # with the largest value of the parameter
    "fixed": (fixed, "length", MOST),
    "uniform": (uniform, "1 to", MOST),
    "geometric": (geometric, "mean", 1e6),
    f"lognormal {SIGMA}": (lognormal, "median", 1e6),
}


def held(prompt: int, k: int) -> int:
    """Return the tokens of the blocks of a request after k output tokens, of which the last is not stored yet."""
    return -(-(prompt + k - 1) // BLOCK) * BLOCK


def peak(survival: Survival, prompt: int) -> float:
    return max(held(prompt, k) * survival(k - 1) for k in range(1, MOST + 1))


def solved(make: Callable[[float], Survival], most: float, prompt: int, wanted: float) -> float | None:
    """Return the parameter whose peak is wanted. None if no answers of at most 512 tokens have it."""
    low, high = 1.01, most
    if not peak(make(low), prompt) <= wanted <= peak(make(high), prompt) + BLOCK:
        return None
    for _ in range(60):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if peak(make(middle), prompt) < wanted else (low, middle)
    return high


def full_after(survival: Survival, prompt: int, pool: Pool) -> int | None:
    """Return the output tokens after which the highest load fills the pool. None if it never does."""
    steps = range(1, MOST + 1)
    return next((k for k in steps if pool.highest * held(prompt, k) * survival(k - 1) >= pool.tokens), None)


def rows() -> Iterator[tuple[str, ...]]:
    for pool in POOLS:
        wanted = pool.tokens / pool.filled_at
        for words, prompt in (("the same", PROMPT - SHARED_BLOCKS * BLOCK), ("different", PROMPT)):
            for kind, (make, name, most) in KINDS.items():
                start = (pool.model, f"{wanted:.0f}", words, kind)
                value = solved(make, most, prompt, wanted)
                if value is None:
                    yield (*start, "none fits", "-", "-", "-")
                    continue
                survival = make(value)
                cut = 0.0 if kind == "uniform" else survival(MOST - 1)
                filled = full_after(survival, prompt, pool)
                if filled is None:
                    yield (*start, f"{name} {value:.0f}", f"{cut:.0%}", "not full", "-")
                    continue
                tenth = next((k for k in range(1, MOST) if survival(k) <= 0.9), MOST)
                running = f"{pool.highest * survival(filled - 1):.0f} of {pool.highest}"
                yield (*start, f"{name} {value:.0f}", f"{cut:.0%}", running, f"{tenth / filled:.2f}")


TITLES = ("model", "tokens each", "prompts", "answers", "parameter", "of 512", "running when full", "first tenth ends")


def main() -> int:
    print(f"| {' | '.join(TITLES)} |\n|{'---|' * len(TITLES)}")
    for row in rows():
        print(f"| {' | '.join(row)} |")
    print()
    for pool in POOLS:
        print(f"{pool.model}: {pool.tokens:,} tokens; {pool.source}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
