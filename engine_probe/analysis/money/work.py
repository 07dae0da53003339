"""The work of one run, and the GPUs and energy that it took: what costs and earnings are computed from.

Tokens, requests and time are those of the whole run. Only answered requests are sold; an aborted answer earns nothing,
although its tokens were made.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from engine_probe.analysis.run.energy import Energy, energy, host_watts
from engine_probe.engine.parallelism import recorded_rank_count
from engine_probe.errors import InputError


@dataclass(frozen=True)
class GpuUse:
    """The GPUs of a run, and the energy that they and the host took."""

    cards: int | None = None  # of all ranks; None if not recorded
    energy: Energy | str = "telemetry was not read"  # a string says why it is not known
    host_watts: float | None = None  # of the host's CPU packages and memory; None if not recorded


NO_GPUS = GpuUse()


@dataclass(frozen=True)
class Work:
    output_tokens_per_s: float  # of answered requests
    input_tokens_per_s: float  # of answered requests
    requests_per_s: float  # answered
    latency_s: float | None  # mean end-to-end latency
    gpus: GpuUse
    made_tokens_per_s: float  # output tokens, of aborted answers, too
    ended_requests_per_s: float  # answered or not

    @property
    def watts(self) -> float | None:
        """Return the mean power of the GPUs. None if it is not known."""
        return None if isinstance(self.gpus.energy, str) else self.gpus.energy.watts

    @property
    def tokens_per_s(self) -> float:
        """Return the tokens of answered requests, of prompts and answers."""
        return self.output_tokens_per_s + self.input_tokens_per_s


def together(works: Sequence[Work], hosts: Sequence[str]) -> Work:
    """Return the work of engines that ran at the same time on these machines, as the sum of their rates."""
    known = [(each.requests_per_s, each.latency_s) for each in works if each.latency_s is not None]
    answered = sum(rate for rate, _ in known)
    is_whole = len(known) == len(works) and answered > 0
    return Work(
        output_tokens_per_s=sum(each.output_tokens_per_s for each in works),
        input_tokens_per_s=sum(each.input_tokens_per_s for each in works),
        requests_per_s=sum(each.requests_per_s for each in works),
        latency_s=sum(rate * seconds for rate, seconds in known) / answered if is_whole else None,
        gpus=all_gpus([each.gpus for each in works], hosts),
        made_tokens_per_s=sum(each.made_tokens_per_s for each in works),
        ended_requests_per_s=sum(each.ended_requests_per_s for each in works),
    )


def all_gpus(used: Sequence[GpuUse], hosts: Sequence[str]) -> GpuUse:
    """Return the GPUs of all engines with their energy; a machine of several engines counts once."""
    cards = [each.cards for each in used if each.cards is not None]
    energies = [each.energy for each in used if isinstance(each.energy, Energy)]
    unknown = [each.energy for each in used if isinstance(each.energy, str)]
    notes = tuple(note for each in energies for note in each.notes)
    energy = unknown[0] if unknown else Energy(tuple(gpu for each in energies for gpu in each.gpus), notes)
    of_host = {host: each.host_watts for host, each in zip(hosts, used, strict=True)}
    watts = [power for power in of_host.values() if power is not None]
    return GpuUse(
        sum(cards) if len(cards) == len(used) else None, energy, sum(watts) if len(watts) == len(of_host) else None
    )


def gpu_use(facts: dict[str, Any], iterations: pa.Table, telemetry: Callable[[], pa.Table]) -> GpuUse:
    """Return the GPUs of a recording; telemetry that is damaged only makes their energy unknown."""
    cards = recorded_rank_count(facts) if "engine" in facts else None
    try:
        rows = telemetry()
    except InputError as error:
        return GpuUse(cards, str(error))
    return GpuUse(cards, energy(facts, iterations, rows), host_watts(iterations, rows))
