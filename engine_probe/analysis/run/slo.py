"""An SLO: latency limits on each request, as `vllm bench serve --goodput` takes them, and limits on a whole run.

A whole run has a success rate, a cost per token and an energy per token or request.
"""

import math
from typing import Annotated

import msgspec

from engine_probe.analysis.money.prices import Prices
from engine_probe.errors import InputError
from engine_probe.files.key_meaning import about

NAMES = ("ttft", "tpot", "e2el")
SUCCESS = "success"
COSTS = {"cost_per_1000_tokens": "cost of 1,000 tokens", "cost_per_1000_output_tokens": "cost of 1,000 output tokens"}
ENERGIES = {
    "joules_per_token": "energy per token",
    "joules_per_output_token": "energy per output token",
    "joules_per_request": "energy per request",
}
WHOLE = COSTS | ENERGIES

Percent = Annotated[float, msgspec.Meta(gt=0, le=100)]
Milliseconds = Annotated[float, msgspec.Meta(gt=0)]
Positive = Annotated[float, msgspec.Meta(gt=0)]


class Slo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Latency limits on a request. A load passes if at least `percentile` percent of its requests meet all of them.

    A request that failed meets none. The success rate, the costs and the energies are limits on the whole run.
    """

    ttft_ms: Annotated[Milliseconds | None, about("Longest time to the first token, in ms.", 200.0)] = None
    tpot_ms: Annotated[Milliseconds | None, about("Longest time per output token after the first, in ms.", 30.0)] = None
    e2el_ms: Annotated[Milliseconds | None, about("Longest time to the whole answer, in ms.", 9000.0)] = None
    success_percent: Annotated[
        Percent | None, about("Least percentage of requests that must be answered before their deadline.", 99.0)
    ] = None
    cost_per_1000_tokens: Annotated[
        Positive | None, about("Highest cost of 1,000 tokens, of prompts and answers: needs prices.", 0.002)
    ] = None
    cost_per_1000_output_tokens: Annotated[
        Positive | None, about("Highest cost of 1,000 output tokens: needs prices.", 0.004)
    ] = None
    joules_per_token: Annotated[
        Positive | None, about("Most energy of the GPUs per token, of prompts and answers, in J.", 0.5)
    ] = None
    joules_per_output_token: Annotated[
        Positive | None, about("Most energy of the GPUs per output token, in J.", 1.0)
    ] = None
    joules_per_request: Annotated[Positive | None, about("Most energy of the GPUs per request, in J.", 200.0)] = None
    prices: Annotated[
        Prices | str | None,
        about("What costs are judged by: the path or name of a price list, or the list itself.", "my_prices.toml"),
    ] = None
    percentile: Annotated[
        float, about("Percentage of requests that must meet all limits for a load to pass.", 99, ge=50, lt=100)
    ] = 90

    @property
    def limits_ms(self) -> dict[str, float]:
        """Return the limits that are set, by vLLM's name."""
        named = ((name, getattr(self, f"{name}_ms")) for name in NAMES)
        return {name: limit for name, limit in named if limit is not None}

    @property
    def whole_limits(self) -> dict[str, float]:
        """Return the limits on the costs and energies of a whole run that are set."""
        named = ((name, getattr(self, name)) for name in WHOLE)
        return {name: limit for name, limit in named if limit is not None}

    @property
    def limits_costs(self) -> bool:
        return any(name in COSTS for name in self.whole_limits)

    @property
    def price_list(self) -> Prices | None:
        """Return the prices, once they have been read."""
        return self.prices if isinstance(self.prices, Prices) else None

    @property
    def is_empty(self) -> bool:
        return not self.limits_ms and self.success_percent is None and not self.whole_limits

    @property
    def words(self) -> str:
        """Return the limits as a sentence names them: `TTFT <= 200 ms and TPOT <= 30 ms`."""
        return " and ".join(filter(None, (self.request_words, self.whole_words)))

    @property
    def request_words(self) -> str:
        """Return the limits on requests and on their success as a sentence names them."""
        words = [f"{name.upper()} <= {limit:g} ms" for name, limit in self.limits_ms.items()]
        if self.success_percent is not None:
            words.append(f"success rate >= {self.success_percent:g}%")
        return " and ".join(words)

    @property
    def whole_words(self) -> str:
        """Return the limits on costs and energies as a sentence names them."""
        words = [
            f"{WHOLE[name]} <= {limit:g}{'' if name in COSTS else ' J'}" for name, limit in self.whole_limits.items()
        ]
        return " and ".join(words)

    def __str__(self) -> str:
        success = {} if self.success_percent is None else {SUCCESS: self.success_percent}
        return " ".join(f"{name}:{limit:g}" for name, limit in (self.limits_ms | success | self.whole_limits).items())


def read_goodput(words: list[str], percentile: float = 90) -> Slo | None:
    """Read `ttft:200 tpot:30`, as `vllm bench serve --goodput` takes it, and limits on the whole run.

    None without a limit.
    """
    limits: dict[str, float] = {}
    for word in " ".join(words).split():
        name, _, text = word.partition(":")
        if name not in (*NAMES, SUCCESS, *WHOLE):
            known = ", ".join((*NAMES, SUCCESS, *WHOLE))
            raise InputError(f"--goodput {word}: the limits are {known}; write it as ttft:200, in ms, or success:99")
        if name in limits:
            raise InputError(f"--goodput {word}: {name} is limited twice: leave one of the two out")
        limits[name] = read_limit(word, name, text)
    if not limits:
        return None
    success = limits.pop(SUCCESS, None)
    named = {f"{name}_ms" if name in NAMES else name: limit for name, limit in limits.items()}
    return Slo(percentile=percentile, success_percent=success, prices=None, **named)


def read_limit(word: str, name: str, text: str) -> float:
    try:
        limit = float(text)
    except ValueError:
        limit = math.nan
    most = 100 if name == SUCCESS else math.inf
    if 0 < limit < math.inf and limit <= most:
        return limit
    units = {SUCCESS: ("a percentage up to 100", "99")}
    units |= dict.fromkeys(COSTS, ("a sum in the currency of the prices", "0.002"))
    units |= dict.fromkeys(ENERGIES, ("joules", "0.5"))
    unit, example = units.get(name, ("milliseconds", "200"))
    raise InputError(f"--goodput {word}: {text or 'nothing'} is not a limit: give {unit}, as {name}:{example}")
