"""Does divergence depend on load, on batch size, on having been preempted, or on having been recomputed?

Each test has a null hypothesis of no effect, an odds ratio with its interval, and p corrected for all four (Holm).

- Load, between the answers to the same prompt: do those at a higher load diverge more often? Where every load has
  repeats, runs and not requests are tested, because requests of one run share its batches.
- Batch size, at the same token of the same prompt: of the runs that had not diverged before it, do those that made it
  in a larger batch diverge there?
- Preemption, and tokens computed again, at the same token of the same run: of the requests that had not diverged before
  it, do those that had been preempted diverge there? A preemption after a divergence does not count for it.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine_probe.analysis.answers.integrity.request_verdicts import ComparedAnswer, HeldToReference, Kind
from engine_probe.analysis.answers.integrity.token_steps import TokenSteps
from engine_probe.analysis.compare.load_effect import slope_p
from engine_probe.analysis.statistics.arrays import Integers, Reals
from engine_probe.analysis.statistics.matched_odds import MatchedOdds, Stratum, matched_odds
from engine_probe.analysis.statistics.rank_tests import corrected

FEWEST_LOADS = 3  # with repeats, of which a slope has an error


@dataclass(frozen=True, eq=False)
class ComparedRun:
    """A run against the reference run, with its load and the steps of its tokens."""

    load: float
    compared: HeldToReference
    steps: TokenSteps

    @property
    def tested(self) -> list[ComparedAnswer]:
        """Return the requests that were answered, and so diverged or did not."""
        return [each for each in self.compared.comparisons if each.kind is not Kind.FAILED]

    @property
    def share_changed(self) -> float:
        return float(np.mean([each.changed for each in self.tested]))


@dataclass(frozen=True)
class Dependence:
    """The test of one cause."""

    cause: str
    unit: str  # of the odds ratio
    odds: MatchedOdds | None
    p: float | None  # corrected; None if nothing could be tested
    by_runs: bool = False  # p is of whole runs
    why_not: str = ""


def dependence(runs: Sequence[ComparedRun]) -> list[Dependence]:
    """Test every cause over the runs of one curve."""
    return corrected(
        [
            _load(runs),
            _tested(
                "batch size", "each doubling of the batch", _same_token(runs), "no answers to one prompt differ in it"
            ),
            _tested(
                "preemption", "preempted before it", _same_run(runs, _preempted), "no request was preempted before"
            ),
            _tested(
                "recomputation",
                "each doubling of the tokens computed again",
                _same_run(runs, _recomputed),
                "no request was computed again before",
            ),
        ]
    )


def _tested(cause: str, unit: str, strata: Iterator[Stratum], missing: str) -> Dependence:
    found = list(strata)
    if not found:
        return Dependence(cause, unit, None, None, why_not="no answer diverged")
    odds = matched_odds(found)
    return Dependence(cause, unit, odds, odds.p if odds else None, why_not="" if odds else missing)


def _load(runs: Sequence[ComparedRun]) -> Dependence:
    by_load: dict[float, list[float]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: run.load):
        if run.tested:
            by_load[run.load].append(run.share_changed)
    if len(by_load) < 2:
        return Dependence("load", LOAD_UNIT, None, None, why_not="answers were compared at one load only")
    found = _tested("load", LOAD_UNIT, _same_prompt(runs), "every prompt diverged at all loads, or at none")
    if found.odds and len(by_load) >= FEWEST_LOADS and min(map(len, by_load.values())) > 1:
        return replace(found, p=slope_p(list(by_load.values())), by_runs=True)
    return found


LOAD_UNIT = "each doubling of the load"


def _same_prompt(runs: Sequence[ComparedRun]) -> Iterator[Stratum]:
    """Yield the answers to each prompt, exposed to the load."""
    by_prompt: dict[str, list[tuple[float, bool]]] = defaultdict(list)
    for run in runs:
        for each in run.tested:
            by_prompt[each.prompt_id].append((np.log2(run.load), each.changed))
    yield from (stratum(members) for members in by_prompt.values() if any(changed for _, changed in members))


def _same_token(runs: Sequence[ComparedRun]) -> Iterator[Stratum]:
    """Yield, for each token at which an answer to a prompt diverged, the runs that still agreed before it."""
    by_prompt: dict[str, list[tuple[ComparedRun, ComparedAnswer]]] = defaultdict(list)
    for run in runs:
        for each in run.tested:
            by_prompt[each.prompt_id].append((run, each))
    for members in by_prompt.values():
        for token in {each.token for _, each in members if each.changed and each.token is not None}:
            sizes = [
                (float(np.log2(run.steps.batch_sizes(made)[0])), each.token == token)
                for run, each in members
                if each.at_risk(token) and len(made := run.steps.of_request(each.request_id)[token : token + 1])
            ]
            yield stratum(sizes)


Exposure = Callable[[TokenSteps, str, Integers], Reals]


def _preempted(steps: TokenSteps, request_id: str, iterations: Integers) -> Reals:
    return np.where(steps.preemptions_before(request_id, iterations) > 0, 1.0, 0.0)


def _recomputed(steps: TokenSteps, request_id: str, iterations: Integers) -> Reals:
    logarithms: Reals = np.log2(1.0 + steps.recomputed_before(request_id, iterations))
    return logarithms


def _same_run(runs: Sequence[ComparedRun], exposure: Exposure) -> Iterator[Stratum]:
    """Yield, for each token at which an answer of a run diverged, the requests that still agreed before it."""
    for run in runs:
        tokens = sorted({each.token for each in run.tested if each.changed and each.token is not None})
        members: dict[int, list[tuple[float, bool]]] = {token: [] for token in tokens}
        for each in run.tested:
            made = run.steps.of_request(each.request_id)
            own = np.array([token for token in tokens if token < len(made) and each.at_risk(token)], dtype=np.int64)
            for token, value in zip(own, exposure(run.steps, each.request_id, made[own]), strict=True):
                members[int(token)].append((float(value), each.token == token))
        yield from map(stratum, members.values())


def stratum(members: Sequence[tuple[float, bool]]) -> Stratum:
    exposures, events = zip(*members, strict=True) if members else ((), ())
    return Stratum(np.array(exposures, dtype=np.float64), np.array(events, dtype=bool))
