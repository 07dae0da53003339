"""The engine step that made each token of a request: its batch, and what happened to the request before it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from engine_probe.analysis.batch.graphs import MODES
from engine_probe.analysis.run.token_times import token_times
from engine_probe.analysis.statistics.arrays import Integers


@dataclass(frozen=True)
class TokenStep:
    """The step that made one token."""

    iteration: int
    batch_size: int  # requests in it
    prefill_tokens: int  # computed beside the token
    kv_occupancy: float  # share of the KV blocks in use
    preemptions: int  # of the request, before the step
    recomputed_tokens: int  # of the request, until then
    graph_mode: str | None  # None if vLLM's runner does not tell it


@dataclass(frozen=True, eq=False)
class TokenSteps:
    """The steps of all tokens of a run, by request."""

    facts: Mapping[str, Any]
    iterations: pa.Table
    requests: pa.Table
    preemptions: pa.Table
    workers: pa.Table

    def of_request(self, request_id: str) -> Integers:
        """Return the iteration that delivered each token. Empty if the run does not tell them."""
        row = self._rows.get(request_id)
        return np.empty(0, dtype=np.int64) if row is None else self._tokens[self._begins[row] : self._begins[row + 1]]

    def batch_sizes(self, iterations: Integers) -> Integers:
        sizes: Integers = self.iterations["scheduled_requests"].to_numpy()[iterations]
        return sizes

    def preemptions_before(self, request_id: str, iterations: Integers) -> Integers:
        """Return how often the request had been preempted before each of these iterations."""
        when, _ = self._preempted.get(request_id, NEVER)
        return np.searchsorted(when, iterations, side="right")

    def recomputed_before(self, request_id: str, iterations: Integers) -> Integers:
        """Return how many tokens of the request had been computed again by each of these iterations."""
        _, (resumed, tokens) = self._preempted.get(request_id, NEVER)
        total: Integers = np.r_[0, np.cumsum(tokens)][np.searchsorted(resumed, iterations, side="right")]
        return total

    def at(self, request_id: str, token: int) -> TokenStep | None:
        """Return the step that made a token. None if the run does not tell it."""
        made = self.of_request(request_id)[token : token + 1]
        if not len(made):
            return None
        iteration = int(made[0])
        step = {name: self.iterations[name][iteration].as_py() for name in STEP_COLUMNS}
        mode = self._graph_modes.get(iteration)
        return TokenStep(
            iteration,
            step["scheduled_requests"],
            step["prefill_tokens"],
            step["kv_blocks_scheduled"] / self.facts["kv"]["blocks"],
            int(self.preemptions_before(request_id, made)[0]),
            int(self.recomputed_before(request_id, made)[0]),
            None if mode is None else MODES[mode],
        )

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {request_id: row for row, request_id in enumerate(self.requests["request_id"].to_pylist())}

    @cached_property
    def _times(self) -> pa.Table:
        return token_times(self.iterations, self.requests)

    @cached_property
    def _tokens(self) -> Integers:
        made: Integers = self._times["iteration"].to_numpy()
        return made

    @cached_property
    def _begins(self) -> Integers:
        """Return where the tokens of each request begin, and where those of the last one end."""
        return np.searchsorted(self._times["request"].to_numpy(), np.arange(self.requests.num_rows + 1))

    @cached_property
    def _preempted(self) -> dict[str, "History"]:
        """Return when each request was preempted, and when it had computed how many tokens again."""
        rows: dict[str, list[tuple[int, int | None, int]]] = {}
        names = ("request_id", "iteration", "resumed_iteration", "recomputed_tokens")
        for request_id, *row in zip(*(self.preemptions[name].to_pylist() for name in names), strict=True):
            rows.setdefault(request_id, []).append((row[0], row[1], row[2]))
        return {request_id: history(found) for request_id, found in rows.items()}

    @cached_property
    def _graph_modes(self) -> dict[int, int]:
        first = self.workers.filter(np.asarray(self.workers["rank"]) == 0) if self.workers.num_rows else self.workers
        modes = zip(first["iteration"].to_pylist(), first["graph_mode"].to_pylist(), strict=True)
        return {iteration: mode for iteration, mode in modes if mode is not None}


STEP_COLUMNS = ("scheduled_requests", "prefill_tokens", "kv_blocks_scheduled")
History = tuple[Integers, tuple[Integers, Integers]]  # preempted in; resumed in, and tokens computed again
NOTHING: Integers = np.empty(0, dtype=np.int64)
NEVER: History = (NOTHING, (NOTHING, NOTHING))


def history(preemptions: Sequence[tuple[int, int | None, int]]) -> History:
    """Return the preemptions of one request in order of time."""
    resumed = sorted((again, tokens) for _, again, tokens in preemptions if again is not None)
    when = np.array(sorted(iteration for iteration, _, _ in preemptions), dtype=np.int64)
    pairs = np.array(resumed, dtype=np.int64).reshape(-1, 2)
    return when, (pairs[:, 0], pairs[:, 1])
