"""A sweep file (TOML) as frozen data: unknown keys are refused, and every point has an identity."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, get_args

import msgspec

from engine_probe.analysis.curve.curve_settings import curve_settings
from engine_probe.analysis.run.slo import Slo
from engine_probe.engine.engine_spec import EngineSpec
from engine_probe.engine.parallelism import DATA, parallel_size
from engine_probe.engine.twin.settings import Twin, Twins
from engine_probe.errors import InputError
from engine_probe.files.config_file import Keys, convert
from engine_probe.files.key_meaning import about
from engine_probe.perplexity.perplexity_spec import Quality
from engine_probe.sweep.argument_search.space import ArgumentSearch, Span
from engine_probe.sweep.definition.axes import MOST_POINTS, Range, combinations, documents, label
from engine_probe.sweep.definition.saturation_stop import Saturated
from engine_probe.sweep.definition.search import Adaptive
from engine_probe.sweep.definition.workload_section import WorkloadSection
from engine_probe.workload.answers import KeepAnswers
from engine_probe.workload.arrivals import Arrivals
from engine_probe.workload.lengths import Positive, PositiveFloat
from engine_probe.workload.load import load_words
from engine_probe.workload.stop import Steady, Stop
from engine_probe.workload.workload_spec import Prompts, Sampling, WarmUp

ENGINES = "engines"  # key of the twins of several engines


class EngineSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The model, the engine arguments of vLLM, and the variables of its environment."""

    model: Annotated[
        str,
        about(
            "An embedded model (tiny, smollm2), a name from `engine_probe models`, a folder, or org/name.", "smollm2"
        ),
    ]
    arguments: Annotated[
        dict[str, Any], about("Engine arguments of vLLM under vLLM's own names (EngineArgs).", {"max_model_len": 4096})
    ] = {}
    environment: Annotated[
        dict[str, str | int],
        about(
            "Environment variables that vLLM or its libraries read, set in the engine's process alone.",
            {"VLLM_BATCH_INVARIANT": 1},
        ),
    ] = {}
    twin: Annotated[
        dict[str, Any] | None,
        about("Predict instead of measuring. Written by `sweep --twin`: step times, and the limits of an engine."),
    ] = None

    def __post_init__(self) -> None:
        if self.twin is None:
            return
        try:
            msgspec.convert(self.twin, Twins if ENGINES in self.twin else Twin)
        except msgspec.ValidationError as error:
            problem, _, _ = str(error).partition(" - at ")  # a place within the twin, and not within the file
            raise ValueError(f"twin is not what sweep --twin writes: {problem}") from error

    @property
    def spec(self) -> EngineSpec:
        variables = {name: str(value) for name, value in self.environment.items()}
        return EngineSpec(self.model, self.arguments, variables)

    def with_own_twin(self) -> "EngineSection":
        """Return this engine with its own twin, of those of all engines of the sweep."""
        if self.twin is None or ENGINES not in self.twin:
            return self
        own = self.twin[ENGINES].get(self.spec.key)
        if own is None:
            raise InputError("engine.twin lacks an engine that the sweep asks for: predict it anew with --twin")
        return msgspec.structs.replace(self, twin=own)


class Mix(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Further engines that run beside the sweep's own at each point, with a load of their own."""

    engine: Annotated[EngineSection, about("The model and the engine arguments of these engines.")]
    replicas: Annotated[Positive, about("How many of them.", 4)] = 1
    workload: Annotated[
        WorkloadSection | None, about("The requests of each of them. Left out: those of the sweep's own engine.")
    ] = None


class StopSection(Stop, frozen=True, forbid_unknown_fields=True):
    """Conditions that end a point or an axis early. Without this section, a point ends with the last answer."""

    saturated: Annotated[Saturated | None, about("End a load axis where throughput no longer grows.")] = None

    @property
    def of_a_point(self) -> Stop:
        return Stop(self.seconds, self.requests, self.steady)


class SweepFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A question, and the engine, workload and axes that answer it."""

    question: Annotated[
        str, about("The question that the sweep answers; the title of the report.", "Where does throughput saturate?")
    ]
    engine: Annotated[EngineSection, about("The engine to measure.")]
    workload: Annotated[WorkloadSection, about("The requests of each point.")]
    axes: Annotated[
        dict[str, list[Any] | Range],
        about(
            "What varies, each with a list of values or a range; every combination is a point. An empty table "
            "leaves an engine argument out.",
            {"workload.concurrency": [1, 4, 16]},
        ),
    ] = {}
    replicas: Annotated[
        Positive,
        about(
            "Engines that measure each point together, each with the whole workload to itself; the point's throughput "
            "is their sum while all of them run. May be an axis.",
            12,
        ),
    ] = 1
    mix: Annotated[
        list[Mix],
        about("Other engines that run beside these at each point.", [{"engine": {"model": "tiny"}, "replicas": 4}]),
    ] = []
    include: Annotated[
        list[dict[str, Any]], about("Extra points; each gives a value for every axis.", [{"workload.concurrency": 100}])
    ] = []
    exclude: Annotated[
        list[dict[str, Any]],
        about(
            "Combinations to leave out; each names values of some axes, one or a list.",
            [{"workload.concurrency": [16]}],
        ),
    ] = []
    adaptive: Annotated[Adaptive | None, about("Search for a load instead of measuring a grid.")] = None
    search: Annotated[ArgumentSearch | None, about("Search for engine arguments instead of measuring a grid.")] = None
    stop: Annotated[StopSection, about("Conditions that end a point or an axis early.")] = StopSection()
    warm_up: Annotated[WarmUp, about("Requests before each recording begins.")] = WarmUp()
    answers: Annotated[KeepAnswers | None, about("What is kept of each answer.")] = None
    check_integrity: Annotated[
        bool,
        about(
            "Compare the answers of all loads, token by token, with those of the lowest: keeps tokens and "
            "log-probabilities, and measures the lowest load at least twice.",
            True,
        ),
    ] = False
    probe: Annotated[
        bool, about("false records nothing and times whole answers only, for comparison. May be an axis.", False)
    ] = True
    operators: Annotated[
        str | None,
        about(
            "Run torch's profiler in these steps of each point, STEPS@FIRST: where the forward's time goes. Latencies "
            "leave out what the window touches, and so does throughput.",
            "20@100",
        ),
    ] = None
    repeats: Annotated[Positive, about("Number of times each point is measured.", 3)] = 1
    interleave: Annotated[
        bool, about("Measure all points once, then all again, so that slow drift affects all points alike.", False)
    ] = True
    quality: Annotated[Quality | None, about("Measure the perplexity of a text on each engine, after its points.")] = (
        None
    )
    checkpoints: Annotated[
        dict[str, str],
        about(
            "Model folders that are not shipped, each with its quantization: none, int8, int4, awq, gptq, gptq "
            "desc_act or fp8. Points of one that is not here are left out; one that is something else is refused.",
            {"models/llama-3-8b-awq": "awq"},
        ),
    ] = {}
    start_seconds: Annotated[
        float, about("Longest start of an engine, in seconds; a slower one is killed.", 600.0, gt=0)
    ] = 3600.0
    point_seconds: Annotated[
        PositiveFloat | None,
        about(
            "Longest time of a point, in seconds; a slower one is stopped and recorded as failed. Default: 30 minutes, "
            "and for what it asks 1 s a step (or its weights at 10 GB/s) and 1 s for 20 prompt tokens; it is stopped "
            "earlier if a step takes 30 minutes.",
            600.0,
        ),
    ] = None


class Point(msgspec.Struct, frozen=True):
    """One measured point. Label and curve depend on the whole sweep and are not part of the point's identity."""

    engine: EngineSection
    workload: WorkloadSection
    repeat: int = 0
    label: str = ""
    stop: Stop = Stop()
    warm_up: WarmUp = WarmUp()
    probe: bool = True
    operators: str | None = None  # the steps in which torch's profiler runs
    answers: KeepAnswers | None = None  # what is kept of them besides a checksum
    quality: Quality | None = None  # measured instead of the workload: the perplexity of a text
    curve: dict[str, Any] = {}  # the settings, except the load, in which the sweep's points differ
    replicas: int = 1  # engines that are measured together
    mix: tuple[Mix, ...] = ()  # and others beside them

    @property
    def together(self) -> bool:
        """Return whether several engines measure this point."""
        return self.replicas > 1 or bool(self.mix)

    @property
    def parts(self) -> list[tuple["Point", int]]:
        """Return the point as each kind of engine measures it, and how many engines of that kind there are."""
        alone = msgspec.structs.replace(self, replicas=1, mix=())
        beside = [
            msgspec.structs.replace(
                alone, engine=one.engine, workload=one.workload or self.workload, label=f"{self.label}, mix[{number}]"
            )
            for number, one in enumerate(self.mix)
        ]
        return list(zip([alone, *beside], [self.replicas, *(one.replicas for one in self.mix)], strict=True))

    @property
    def each_engine(self) -> list["Point"]:
        """Return the point once for each of its engines, as that engine measures it."""
        return [part for part, count in self.parts for _ in range(count)]

    @property
    def engine_counts(self) -> tuple[tuple[EngineSpec, int], ...]:
        """Return each kind of engine, and how many of it there are."""
        return tuple((part.engine.spec, count) for part, count in self.parts)

    @property
    def engines(self) -> tuple[EngineSpec, ...]:
        return tuple(spec for spec, count in self.engine_counts for _ in range(count))

    @property
    def output_tokens(self) -> int | None:
        """Return the output tokens of all engines. None if they are not known before."""
        tokens = [(part.workload.output_tokens, count) for part, count in self.parts]
        return None if any(each is None for each, _ in tokens) else sum((each or 0) * count for each, count in tokens)

    @property
    def load(self) -> float:
        return self.workload.load[0]

    @property
    def load_in(self) -> str:
        return self.workload.load[1]

    @property
    def has_run_json(self) -> bool:
        """Return whether a recording of this point lies in its folder, and not below it or nowhere."""
        return self.probe and self.quality is None and not self.together and not self.recorded_by_core

    @property
    def recorded_by_core(self) -> bool:
        """Return whether each data-parallel core of a twin has a recording of its own, below the point's folder."""
        return self.probe and self.engine.twin is not None and parallel_size(self.engine.arguments, DATA) > 1

    @property
    def key(self) -> str:
        asked = msgspec.to_builtins([self.workload, self.stop, self.warm_up])
        for name in ("hold", "deadline_seconds"):  # keys that earlier sweeps did not have
            if not asked[0][name]:
                del asked[0][name]
        content = [self.engine.spec.key, asked, self.probe, self.repeat]
        if self.engine.twin is not None:
            content.append(self.engine.twin)
        if self.operators is not None:
            content.append(self.operators)
        if self.answers is not None:
            content.append(msgspec.to_builtins(self.answers))
        if self.together:
            content.append(msgspec.to_builtins([self.replicas, self.mix]))
        if self.quality is not None:
            text = msgspec.to_builtins(self.quality)
            if text["per"] == "token":  # earlier sweeps did not have the key
                del text["per"]
            content = [self.engine.spec.key, text]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


class _Varied(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The keys that axes can vary."""

    engine: EngineSection
    workload: WorkloadSection
    probe: bool
    replicas: Positive


SECTIONS: dict[str, Keys] = {
    "": SweepFile,
    "engine": EngineSection,
    "workload": WorkloadSection,
    "workload.arrivals": get_args(Arrivals),
    "workload.prompts": get_args(Prompts),
    "workload.sampling": Sampling,
    "mix[]": Mix,
    "axes[...]": Range,
    "adaptive": Adaptive,
    "adaptive.slo": Slo,
    "search": ArgumentSearch,
    "search.arguments[...]": Span,
    "search.slo": Slo,
    "stop": StopSection,
    "stop.steady": Steady,
    "stop.saturated": Saturated,
    "warm_up": WarmUp,
    "answers": KeepAnswers,
    "quality": Quality,
}


def points(sweep: SweepFile) -> list[Point]:
    """Return a point for every combination and repeat, ordered by engine."""
    base = msgspec.to_builtins(_Varied(sweep.engine, sweep.workload, sweep.probe, sweep.replicas))
    combined = combinations(sweep.axes, sweep.include, sweep.exclude)
    if len(combined) * sweep.repeats > MOST_POINTS:
        raise InputError(
            f"repeats: {len(combined):,} points {sweep.repeats:,} times are more than {MOST_POINTS:,}: lower repeats"
        )
    varying = [name for name in sweep.axes if len({repr(chosen[name]) for chosen in combined}) > 1]
    kept, found = sweep.answers, []
    if sweep.check_integrity:  # tokens, and log-probabilities to tell near-ties from faults
        kept = KeepAnswers(keep=(kept.keep if kept else None) or "tokens", logprobs=True)
    for chosen, document in zip(combined, documents(base, combined), strict=True):
        one = convert(document, _Varied, SECTIONS)
        for repeat in range(sweep.repeats):
            load, unit = one.workload.load
            words = label(chosen, varying, unit) or load_words(load, unit)
            more = f", {repeat + 1} of {sweep.repeats}" if sweep.repeats > 1 else ""
            stop, warm_up = sweep.stop.of_a_point, sweep.warm_up
            own = one.engine.with_own_twin()
            point = Point(own, one.workload, repeat, words + more, stop, warm_up, one.probe, sweep.operators, kept)
            found.append(msgspec.structs.replace(point, replicas=one.replicas, mix=tuple(sweep.mix)))
    settings = curve_settings([msgspec.to_builtins(point) for point in found], [point.workload.load for point in found])
    found = [msgspec.structs.replace(point, curve=curve) for point, curve in zip(found, settings, strict=True)]
    if sweep.check_integrity:
        found = with_second_reference(found)
    order = {kinds: number for number, kinds in enumerate(dict.fromkeys(point.engine_counts for point in found))}
    return sorted(found, key=lambda point: (order[point.engine_counts], point.repeat if sweep.interleave else 0))


def apart(found: Iterable[Point]) -> list[Point]:
    """Return the points as single engines measure them, for checks of an engine and its requests."""
    return [part for point in found for part, _ in point.parts]


def with_second_reference(found: Sequence[Point]) -> list[Point]:
    """Repeat the lowest load of each curve if it has no repeat: the difference of the two is the engine's own noise."""
    points = []
    for point in found:
        curve = [other for other in found if other.curve == point.curve]
        lowest = min(other.load for other in curve)
        alone = point.load == lowest and sum(other.load == lowest for other in curve) == 1
        if not alone:
            points.append(point)
            continue
        points += [
            msgspec.structs.replace(point, repeat=repeat, label=f"{point.label}, {repeat + 1} of 2")
            for repeat in range(2)
        ]
    return points
