"""An SLO: latency limits on each request, as `vllm bench serve --goodput` takes them, and a success rate."""

import math
from typing import Annotated

import msgspec

from engine_probe.errors import InputError
from engine_probe.files.key_meaning import about

NAMES = ("ttft", "tpot", "e2el")
SUCCESS = "success"

Percent = Annotated[float, msgspec.Meta(gt=0, le=100)]
Milliseconds = Annotated[float, msgspec.Meta(gt=0)]


class Slo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Latency limits on a request. A load passes if at least `percentile` percent of its requests meet all of them.

    A request that failed meets none.
    """

    ttft_ms: Annotated[Milliseconds | None, about("Longest time to the first token, in ms.", 200.0)] = None
    tpot_ms: Annotated[Milliseconds | None, about("Longest time per output token after the first, in ms.", 30.0)] = None
    e2el_ms: Annotated[Milliseconds | None, about("Longest time to the whole answer, in ms.", 9000.0)] = None
    success_percent: Annotated[
        Percent | None, about("Least percentage of requests that must be answered before their deadline.", 99.0)
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
    def is_empty(self) -> bool:
        return not self.limits_ms and self.success_percent is None

    @property
    def words(self) -> str:
        """Return the limits as a sentence names them: `TTFT <= 200 ms and TPOT <= 30 ms`."""
        words = [f"{name.upper()} <= {limit:g} ms" for name, limit in self.limits_ms.items()]
        if self.success_percent is not None:
            words.append(f"success rate >= {self.success_percent:g}%")
        return " and ".join(words)

    def __str__(self) -> str:
        words = [f"{name}:{limit:g}" for name, limit in self.limits_ms.items()]
        return " ".join([*words, *([] if self.success_percent is None else [f"{SUCCESS}:{self.success_percent:g}"])])


def read_goodput(words: list[str], percentile: float = 90) -> Slo | None:
    """Read `ttft:200 tpot:30`, as `vllm bench serve --goodput` takes it, and `success:99`. None without a limit."""
    limits: dict[str, float] = {}
    for word in " ".join(words).split():
        name, _, text = word.partition(":")
        if name not in (*NAMES, SUCCESS):
            known = ", ".join((*NAMES, SUCCESS))
            raise InputError(f"--goodput {word}: the limits are {known}; write it as ttft:200, in ms, or success:99")
        if name in limits:
            raise InputError(f"--goodput {word}: {name} is limited twice: leave one of the two out")
        try:
            limits[name] = float(text)
        except ValueError:
            limits[name] = math.nan
        most, unit = (100, "a percentage up to 100") if name == SUCCESS else (math.inf, "milliseconds")
        if not 0 < limits[name] < math.inf or limits[name] > most:
            example = 99 if name == SUCCESS else 200
            raise InputError(f"--goodput {word}: {text or 'nothing'} is not a limit: give {unit}, as {name}:{example}")
    if not limits:
        return None
    success = limits.pop(SUCCESS, None)
    named = {f"{name}_ms": limit for name, limit in limits.items()}
    return Slo(percentile=percentile, success_percent=success, **named)
