"""The points that `accuracy` measures and predicts, and the sweep files that ask for them."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

HEAD = """\
question = "How far off is the twin?"
[engine]
model = "{model}"
[engine.arguments]
block_size = 32
num_gpu_blocks_override = 129
max_model_len = 512
enforce_eager = true
max_num_batched_tokens = {budget}
enable_prefix_caching = {caching}
[workload]
hold = false
"""
# What tiny is asked, and how often, in multiples of what smollm2 is: its steps are shorter by as much, and a recording
# of a fifth of a second tells more of the machine's moment than of the engine.
SPEEDS = {"tiny": 8}
ROUNDS = 4  # in each of which every engine is started anew


class Case(NamedTuple):
    """One measured point."""

    name: str
    arrivals: Callable[[int], str]  # from the model's speed
    prompts: str
    output_len: int
    requests: int
    fitted: bool = False  # a recording that step times are fitted to
    anchor: bool = False  # tells how fast the machine is beside the points before and after it, and nothing else

    @property
    def held_out(self) -> bool:
        return not (self.fitted or self.anchor)


def users(number: int) -> Callable[[int], str]:
    return lambda speed: f'{{ kind = "closed_loop", users = {number} }}'


def rate(per_second: float) -> Callable[[int], str]:
    return lambda speed: f'{{ kind = "open_loop", request_rate = {per_second * speed} }}'


def random(tokens: int) -> str:
    return f'{{ kind = "random", input_len = {tokens} }}'


def shared(prefix: int, tokens: int) -> str:
    return f'{{ kind = "shared_prefix", prefix_len = {prefix}, input_len = {tokens} }}'


ANCHOR = Case("4 users, an anchor", users(4), random(64), 16, 12, anchor=True)


class Engine(NamedTuple):
    """One engine with its points: held-out ones in turns with those for the fit, or with anchors."""

    name: str
    budget: int  # max_num_batched_tokens
    caching: bool
    cases: tuple[Case, ...]


ENGINES = (
    Engine(
        "plain",
        512,
        False,
        (
            Case("1 user", users(1), random(64), 24, 8, fitted=True),
            Case("2 users", users(2), random(64), 32, 12),
            Case("4 users", users(4), random(64), 32, 16, fitted=True),
            Case("8 users", users(8), random(64), 32, 24),
            Case("16 users", users(16), random(64), 32, 32, fitted=True),
            Case("12 users", users(12), random(64), 32, 24),
            Case("4 users, prompts of 192", users(4), random(192), 16, 12, fitted=True),
            Case("6 users, prompts of 128", users(6), random(128), 24, 18),
            Case("8 users, prompts of 24, answers of 64", users(8), random(24), 64, 16, fitted=True),
            Case("3 users, prompts of 32, answers of 96", users(3), random(32), 96, 6),
            Case("2 requests/s", rate(2.0), random(64), 32, 12, fitted=True),
            Case("3 requests/s, prompts of 96", rate(3.0), random(96), 24, 16),
            ANCHOR,
        ),
    ),
    Engine(
        "prefix caching",
        512,
        True,
        (
            ANCHOR,
            Case("6 users, 96 of 128 tokens shared", users(6), shared(96, 32), 24, 18),
            ANCHOR,
            Case("12 users, 160 of 192 tokens shared", users(12), shared(160, 32), 32, 24),
            ANCHOR,
        ),
    ),
    Engine(
        "short chunks",
        96,
        False,
        (
            ANCHOR,
            Case("4 users, prompts of 192 in chunks", users(4), random(192), 24, 12),
            ANCHOR,
            Case("12 users, prompts of 64 in chunks", users(12), random(64), 32, 24),
            ANCHOR,
        ),
    ),
)


def sweep_text(model: str, engine: Engine, places: Sequence[int]) -> str:
    """Return a sweep file of the points at these places; each has a seed of its own, by which it is found again."""
    head = HEAD.format(model=model, budget=engine.budget, caching=str(engine.caching).lower())
    first, *others = (settings(engine, place, SPEEDS.get(model, 1)) for place in places)
    lines = ["[axes]", *(f"{name} = [{value}]" for name, value in first.items())]
    for other in others:
        lines += ["[[include]]", *(f"{name} = {value}" for name, value in other.items())]
    return head + "\n".join(lines) + "\n"


def settings(engine: Engine, place: int, speed: int) -> dict[str, str]:
    """Return the values of a point's axes, as TOML."""
    case = engine.cases[place]
    return {
        '"workload.seed"': str(seed(engine, place)),
        '"workload.prompts"': case.prompts,
        '"workload.output_len"': str(case.output_len),
        '"workload.num_prompts"': str(case.requests * speed),
        '"workload.arrivals"': case.arrivals(speed),
    }


def seed(engine: Engine, place: int) -> int:
    return 100 * ENGINES.index(engine) + place
