"""Published figures: tables with their source and their doubts, and what of them belongs beside a measured curve."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from engine_probe.errors import InputError
from engine_probe.files.safe_read import read_toml
from engine_probe.recordings.curve import Curve
from engine_probe.recordings.run import Run
from engine_probe.recordings.sweep import Swept
from engine_probe.workload.load import CONCURRENCY, USERS

FOLDER = Path(__file__).parent / "published_figures"


@dataclass(frozen=True)
class Figure:
    """What can be compared: its words, how it is written, and the chart that it is drawn in."""

    words: str
    form: Callable[[float], str]
    chart: str
    measured: Callable[[Curve, Run, float | None], float | None]
    scale: float = 1.0  # to the chart's unit


def at_load(value: Callable[[Any], float | None]) -> Callable[[Curve, Run, float | None], float | None]:
    """The mean over the repeats of a load; None where it was not measured."""

    def measured(curve: Curve, _: Run, at: float | None) -> float | None:
        values = [value(each) for each in curve.figures if each.load == at]
        known = [each for each in values if each is not None]
        return float(np.mean(known)) if known and len(known) == len(values) else None

    return measured


def milliseconds(latency: str, percent: int = 50) -> Callable[[Any], float | None]:
    def value(figures: Any) -> float | None:
        ns = figures.percentile_ns(latency, percent)
        return None if ns is None else ns / 1e6

    return value


def kv_saturation(curve: Curve, _: Run, __: float | None) -> float | None:
    kv = curve.found.kv
    return float(np.mean(kv.derived)) if kv.derived else kv.reached


def weights_gib(_: Curve, run: Run, __: float | None) -> float | None:
    """Of all ranks."""
    each = [rank.get("weights_bytes") for rank in run.facts.get("memory") or []]
    return None if not each or None in each else sum(each) / 2**30


def peak_output_tokens_per_s(curve: Curve, run: Run, _: float | None) -> float | None:
    """Of the loads that were measured, repeats averaged."""
    measured = at_load(lambda each: each.summary.output_tokens_per_s)
    known = [measured(curve, run, load) for load in {each.load for each in curve.figures}]
    return max((each for each in known if each is not None), default=None)


def failed(figures: Any) -> float | None:
    lost = sum(figures.summary.requests_other.values())
    asked = lost + figures.summary.requests_answered
    return lost / asked if asked else None


THROUGHPUT, OCCUPANCY = "Throughput and its regions", "KV occupancy"
FIGURES: dict[str, Figure] = {
    "saturation_point": Figure(
        "saturation point",
        "{:,.4g}".format,
        THROUGHPUT,
        lambda curve, _, __: curve.found.saturation.load if curve.found.saturation else None,
    ),
    "kv_saturation": Figure("KV pool full at", "{:,.4g}".format, OCCUPANCY, kv_saturation),
    "kv_capacity_tokens": Figure(
        "KV capacity, tokens",
        "{:,.0f}".format,
        "",
        lambda _, run, __: run.facts["kv"]["blocks"] * run.facts["kv"]["block_size_tokens"],
    ),
    "weights_gib": Figure("weights, GiB", "{:,.4g}".format, "", weights_gib),
    "output_tokens_per_s": Figure(
        "output tokens/s", "{:,.4g}".format, THROUGHPUT, at_load(lambda each: each.summary.output_tokens_per_s)
    ),
    "peak_output_tokens_per_s": Figure("peak output tokens/s", "{:,.4g}".format, "", peak_output_tokens_per_s),
    "peak_kv_share": Figure(
        "KV peak", "{:.0%}".format, OCCUPANCY, at_load(lambda each: each.summary.peak_kv_share), 100
    ),
    "ttft_p50_ms": Figure("TTFT p50, ms", "{:,.4g}".format, "Time to first token", at_load(milliseconds("TTFT"))),
    "tpot_p50_ms": Figure("TPOT p50, ms", "{:,.4g}".format, "Time per output token", at_load(milliseconds("TPOT"))),
    "ttft_p99_ms": Figure("TTFT p99, ms", "{:,.4g}".format, "", at_load(milliseconds("TTFT", 99))),
    "tpot_p99_ms": Figure("TPOT p99, ms", "{:,.4g}".format, "", at_load(milliseconds("TPOT", 99))),
    "e2el_p50_ms": Figure("E2EL p50, ms", "{:,.4g}".format, "", at_load(milliseconds("E2EL"))),
    "failed_share": Figure("requests not answered", "{:.1%}".format, "", at_load(failed)),
}


class Published(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    model: str
    what: str
    value: Annotated[float, msgspec.Meta(gt=0)]
    at: Annotated[float, msgspec.Meta(gt=0)] | None = None  # the load; None: it belongs to the curve
    doubt: str = ""
    setting: dict[str, str | int] = {}


class PublishedPrecision(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row of a table of precisions: throughput and memory relative to the first row."""

    name: str
    perplexity: Annotated[float, msgspec.Meta(gt=1)]
    throughput: Annotated[float, msgspec.Meta(gt=0)]
    memory: Annotated[float, msgspec.Meta(gt=0)]


class Reference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    title: str
    source: str
    figures: list[Published] = []
    precisions: list[PublishedPrecision] = []
    doubt: str = ""
    setting: dict[str, str | int] = {}
    load_in: Literal["concurrent requests", "requests/s"] = "concurrent requests"  # what `at` counts

    def counts(self, unit: str) -> bool:
        """Users are held to be concurrent requests, as the published tables do that do not tell them apart."""
        return unit == self.load_in or (unit == USERS and self.load_in == CONCURRENCY)


@dataclass(frozen=True)
class Beside:
    """One published figure beside what was measured; `differs` names settings that are not the same."""

    curve: Curve
    published: Published
    measured: float | None
    differs: tuple[str, ...]

    @property
    def figure(self) -> Figure:
        return FIGURES[self.published.what]

    @property
    def ratio(self) -> float | None:
        return None if self.measured is None else self.measured / self.published.value


def shipped() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def read_reference(name: str) -> Reference:
    """One of the shipped tables by name, or a file."""
    path = next((path for path in (Path(name), FOLDER / f"{name}.toml") if path.is_file()), None)
    if path is None:
        raise InputError(f"--reference {name}: no such file, and shipped are {', '.join(shipped())}")
    try:
        found = msgspec.convert(read_toml(path), Reference)
    except InputError as error:
        raise InputError(f"--reference {error}") from error
    except msgspec.ValidationError as error:
        raise InputError(f"--reference {path}: {error}") from error
    for number, figure in enumerate(found.figures):
        if figure.what not in FIGURES:
            raise InputError(
                f"--reference {path}: figures[{number}].what is {figure.what!r}: known are {', '.join(FIGURES)}"
            )
    return found


def beside(reference: Reference, swept: Swept, curves: Sequence[Curve]) -> list[Beside]:
    """Published figures of the models that were measured, where load is counted in the same unit."""
    found = []
    for curve in curves:
        run = next((point.run for point in swept.curves[curve.label] if point.run and point.analysis), None)
        if run is None or not reference.counts(curve.unit):
            continue
        number = next(at for at, point in enumerate(swept.points) if point.run is run)
        asked = {**(swept.asked.get("engine") or {}), **swept.settings[number]}
        models = {plain_model(run.facts["model"]["name"]), plain_model(str(asked.get("model", "")))}
        for published in reference.figures:
            if plain_model(published.model) in models:
                measured = FIGURES[published.what].measured(curve, run, published.at)
                differs = tuple(differences({**reference.setting, **published.setting}, run))
                found.append(Beside(curve, published, measured, differs))
    return found


def plain_model(name: str) -> str:
    """Without who publishes it, or the path that leads to it."""
    return name.rstrip("/").rpartition("/")[2].lower()


def differences(setting: dict[str, str | int], run: Run) -> Iterator[str]:
    gpus = run.facts.get("hardware", {}).get("gpus") or []
    workload = run.facts.get("workload") or {}
    parallel = run.facts["engine"]["arguments"].get("parallel_config") or {}
    here: dict[str, Any] = {
        **workload,
        **parallel,
        "gpu": gpus[0].get("name", "") if gpus else "no GPU",
        "precision": precision(run.facts),
    }
    same: dict[str, Callable[[Any, Any], bool]] = {"gpu": same_gpu, "precision": same_precision}
    for name, value in setting.items():
        mine = here.get(name)
        if mine is None:
            yield f"{name} not told here"
        elif not same.get(name, same_value)(mine, value):
            yield f"{name} {mine} for {value}"


def precision(facts: dict[str, Any]) -> str | None:
    """The method of quantization and the type that most of the weights are kept in; without one, the model's type."""
    told = facts["engine"]["arguments"].get("model_config") or {}
    if "quantization" not in told:
        return None
    if told["quantization"] is None:
        return str(facts["model"]["dtype"])
    kept: dict[str, int] = {}
    for rank in facts.get("loaded") or []:
        for dtype, held in rank["dtypes"].items():
            kept[dtype] = kept.get(dtype, 0) + held
    return " in ".join((str(told["quantization"]), *sorted(kept, key=lambda dtype: -kept[dtype])[:1]))


def same_value(mine: Any, value: Any) -> bool:
    return bool(mine == value)


def same_gpu(mine: Any, value: Any) -> bool:
    """Whole words: an L40S is no L4."""
    return re.search(rf"\b{re.escape(str(value))}\b", str(mine), re.IGNORECASE) is not None


def same_precision(mine: Any, value: Any) -> bool:
    """A word of it: vLLM calls a method by its kernels, too, as awq_marlin."""
    return str(value).lower() in re.split(r"[ _]", str(mine).lower())
