"""A sweep file (TOML) as frozen data: strict, and every point with an identity of its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import msgspec

from engine_probe.analysis.slo import Slo
from engine_probe.engine.arguments import check_arguments, suggestion
from engine_probe.engine.build import check_model, max_context
from engine_probe.engine.spec import EngineSpec
from engine_probe.errors import InputError
from engine_probe.sweep.adaptive import Adaptive
from engine_probe.sweep.axes import WORKLOAD, Range, check_axis, combinations, documents, label
from engine_probe.sweep.document import RESULT_FILE, convert, read_asked, read_document, settle
from engine_probe.sweep.saturated import Saturated
from engine_probe.workload import spec
from engine_probe.workload.arrivals import Arrivals, ClosedLoop
from engine_probe.workload.lengths import Length, Positive
from engine_probe.workload.prompts import RandomPrompts
from engine_probe.workload.spec import Prompts, Sampling
from engine_probe.workload.stop import Steady, Stop
from engine_probe.workload.warm_up import WarmUp


class EngineSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    model: str
    arguments: dict[str, Any] = {}

    @property
    def spec(self) -> EngineSpec:
        return EngineSpec(self.model, self.arguments)


class Workload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What each point asks. Plainly: `concurrency` requests at once, each so many random tokens in and out.

    `prompts` and `arrivals` say it in full, in the words of `engine_probe.workload.spec`.
    """

    input_len: Length | None = None  # of random prompts
    output_len: Length | None = None
    concurrency: Positive | None = None  # held in flight; with other arrivals the most in flight
    num_prompts: Positive | None = None  # requests in all; none given: as many as at once, a burst
    prompts: Prompts | None = None
    arrivals: Arrivals | None = None
    sampling: Sampling = Sampling()
    seed: int = 0

    @property
    def at_once(self) -> int:
        return self.concurrency or self.num_prompts or 1

    @property
    def requests(self) -> int:
        return self.num_prompts or self.at_once

    @property
    def output_tokens(self) -> int | None:
        """In all, where it is known before."""
        return self.requests * self.output_len if isinstance(self.output_len, int) else None

    def description(self) -> spec.Workload:
        """In full; what does not go together is refused."""
        if self.prompts is None and self.input_len is None:
            raise InputError("workload.input_len is missing: say how long prompts are, or describe them in prompts")
        if self.prompts is not None and self.input_len is not None:
            raise InputError("workload.input_len is for random prompts: leave it out, the lengths are told in prompts")
        try:
            return spec.Workload(
                prompts=self.prompts or RandomPrompts(self.input_len or 1),
                arrivals=self.arrivals or ClosedLoop(self.at_once),
                output_len=self.output_len,
                num_prompts=self.requests if self.prompts is None else self.num_prompts,
                max_concurrency=self.concurrency if self.arrivals else None,
                sampling=self.sampling,
                seed=self.seed,
            )
        except ValueError as error:
            raise InputError(f"workload: {error}") from error


class StopSection(Stop, frozen=True, forbid_unknown_fields=True):
    """When a point is over, and when an axis is."""

    saturated: Saturated | None = None

    @property
    def of_a_point(self) -> Stop:
        return Stop(self.seconds, self.requests, self.steady)


class SweepFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a sweep asks, of which engines, at which points."""

    question: str
    engine: EngineSection
    workload: Workload
    axes: dict[str, list[Any] | Range] = {}
    include: list[dict[str, Any]] = []
    exclude: list[dict[str, Any]] = []
    adaptive: Adaptive | None = None
    stop: StopSection = StopSection()
    warm_up: WarmUp = WarmUp()
    probe: bool = True  # false: the driver's clock alone, to be compared with
    repeats: Positive = 1
    interleave: bool = False  # all points once, then all again: what drifts meets them all alike
    point_seconds: Annotated[float, msgspec.Meta(gt=0)] = 1800.0  # a point that takes longer is given up


class Point(msgspec.Struct, frozen=True):
    """One measured point. The label is for people, and no part of its identity."""

    engine: EngineSection
    workload: Workload
    repeat: int = 0
    label: str = ""
    stop: Stop = Stop()
    warm_up: WarmUp = WarmUp()
    probe: bool = True

    @property
    def concurrency(self) -> int:
        return self.workload.at_once

    @property
    def key(self) -> str:
        asked = msgspec.to_builtins([self.workload, self.stop, self.warm_up])
        content = [self.engine.spec.key, asked, self.probe, self.repeat]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


class _Varied(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the axes reach."""

    engine: EngineSection
    workload: Workload
    probe: bool


SECTIONS: dict[str, type[msgspec.Struct]] = {
    "": SweepFile,
    "engine": EngineSection,
    "workload": Workload,
    "adaptive": Adaptive,
    "adaptive.slo": Slo,
    "stop": StopSection,
    "stop.steady": Steady,
    "stop.saturated": Saturated,
    "warm_up": WarmUp,
}


def shipped_folder() -> Path:
    """Where the sweeps lie: inside the installed package, or beside it in a checkout."""
    inside = Path(__file__).parent / "shipped"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "sweeps"


def shipped_names() -> list[str]:
    return sorted(path.stem for path in shipped_folder().glob("*.toml"))


def find_sweep(name: str) -> Path:
    """A file by path, a folder that a sweep was written to, or a shipped sweep by name."""
    for path in (Path(name), shipped_folder() / f"{name}.toml", Path(name) / RESULT_FILE):
        if path.is_file():
            return path
    hint = suggestion(name, shipped_names(), f": shipped are {', '.join(shipped_names())}")
    raise InputError(f"there is no sweep {name!r}{hint}; or give the path of a TOML file")


def read_sweep(name: str, settings: Iterable[str] = ()) -> SweepFile:
    """Everything that can be wrong about it is said here, before an engine is started."""
    path = find_sweep(name)
    document = read_asked(path) if path.name == RESULT_FILE else read_document(path)
    try:
        settle(document, settings)
        sweep = convert(document, SweepFile, SECTIONS)
        for axis in sweep.axes:
            check_axis(axis, Workload.__struct_fields__)
        check_adaptive(sweep)
        check_saturated(sweep)
        check_points(points(sweep))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return sweep


def check_adaptive(sweep: SweepFile) -> None:
    if sweep.adaptive is None:
        return
    sweep.adaptive.check()
    if not sweep.adaptive.axis.startswith(WORKLOAD):
        raise InputError(f"adaptive.axis is {sweep.adaptive.axis}: a search varies the load, so name a workload field")
    check_axis(sweep.adaptive.axis, Workload.__struct_fields__)
    if sweep.adaptive.axis in sweep.axes:
        raise InputError(f"axes.{sweep.adaptive.axis} is searched already (adaptive.axis): leave one of the two out")


def points(sweep: SweepFile) -> list[Point]:
    """Every combination as often as it is repeated; those of one engine one after the other."""
    base = msgspec.to_builtins(_Varied(sweep.engine, sweep.workload, sweep.probe))
    combined = combinations(sweep.axes, sweep.include, sweep.exclude)
    varying = [name for name in sweep.axes if len({repr(chosen[name]) for chosen in combined}) > 1]
    found = []
    for chosen, document in zip(combined, documents(base, combined), strict=True):
        one = convert(document, _Varied, SECTIONS)
        for repeat in range(sweep.repeats):
            words = label(chosen, varying) or f"{one.workload.at_once} at once"
            more = f", {repeat + 1} of {sweep.repeats}" if sweep.repeats > 1 else ""
            stop, warm_up = sweep.stop.of_a_point, sweep.warm_up
            found.append(Point(one.engine, one.workload, repeat, words + more, stop, warm_up, one.probe))
    order = {spec: number for number, spec in enumerate(dict.fromkeys(point.engine.spec for point in found))}
    return sorted(found, key=lambda point: (order[point.engine.spec], point.repeat if sweep.interleave else 0))


def check_points(found: list[Point]) -> None:
    """Models, arguments and lengths of all points; each engine once."""
    for engine in dict.fromkeys(point.engine.spec for point in found):
        check_model(engine.model)
        check_arguments(engine.arguments, "engine.arguments")
    for point in found:
        point.workload.description()
        check_stop(point)
        check_length(point.workload, point.engine.arguments.get("max_model_len"))
        check_context(point)


def check_stop(point: Point) -> None:
    """A condition that can never come true is a mistake."""
    stop, work = point.stop, point.workload
    if not point.probe and stop != Stop():
        raise InputError("probe = false: without a recording only whole answers are counted: leave [stop] out")
    known = work.num_prompts or (work.requests if work.prompts is None else None)  # None: as many as a file holds
    if stop.requests is not None and known is not None and stop.requests >= known:
        raise InputError(
            f"stop.requests is {stop.requests}, and there are no more than {known}: set workload.num_prompts higher"
        )
    if stop.steady is not None and known is not None and known <= work.at_once and work.arrivals is None:
        raise InputError(
            f"stop.steady: {known} requests at once are a burst, which is never steady: set workload.num_prompts to "
            "many times as many"
        )


def check_saturated(sweep: SweepFile) -> None:
    asked = sweep.stop.saturated
    if asked is None:
        return
    if sweep.adaptive is not None:
        raise InputError("stop.saturated is for grids, and a search ends by itself: leave it out")
    if sweep.interleave:
        raise InputError("stop.saturated needs a level whole before the next: leave interleave out")
    if not asked.axis.startswith(WORKLOAD) or asked.axis not in sweep.axes:
        known = [name for name in sweep.axes if name.startswith(WORKLOAD)]
        raise InputError(
            f"stop.saturated.axis is {asked.axis}, which is no axis of the load here"
            + suggestion(asked.axis, known, f": {', '.join(known) or 'none'} are")
        )
    axis = sweep.axes[asked.axis]
    values = axis.values(asked.axis) if isinstance(axis, Range) else axis
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in values):
        raise InputError(f"stop.saturated.axis: the values of {asked.axis} are no numbers")
    if values != sorted(values):
        raise InputError(f"stop.saturated goes up {asked.axis}: give its values in ascending order, not {values}")


def check_context(point: Point) -> None:
    """What the model itself takes, where its configuration is on this machine; `hf_overrides` may stretch it."""
    arguments, work = point.engine.arguments, point.workload
    longest = max_context(point.engine.model)
    if longest is None or "hf_overrides" in arguments:
        return
    told = arguments.get("max_model_len")
    if isinstance(told, int) and told > longest:
        raise InputError(
            f"engine.arguments.max_model_len is {told}, more than {point.engine.model} takes: give at most {longest}"
        )
    if told is None:
        check_length(work, longest, f"what {point.engine.model} takes", "shorten them")


def check_length(
    workload: Workload,
    max_model_len: object,
    name: str = "max_model_len",
    advice: str = "shorten them, or raise max_model_len",
) -> None:
    """vLLM would end an answer that does not fit early, without a word, and the figures would be another point's."""
    if not (isinstance(workload.input_len, int) and isinstance(workload.output_len, int)):
        return  # drawn or read: told when the requests are made
    asked = workload.input_len + workload.output_len
    if isinstance(max_model_len, int) and asked > max_model_len:
        raise InputError(f"input_len + output_len is {asked}, more than {name} = {max_model_len}: {advice}")


def check_files(found: list[Point]) -> None:
    """What the workloads read from is there; a dry run does not need it."""
    for path in dict.fromkeys(getattr(point.workload.prompts, "path", None) for point in found):
        if path is not None and not Path(path).is_file():
            raise InputError(
                f"workload.prompts.path: there is no file {path}: name yours with --set workload.prompts.path=FILE"
            )
