"""Tables of published figures, and the figures among them that a measured curve can be compared with."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from engine_probe.analysis.compare.changes import METRICS
from engine_probe.errors import InputError
from engine_probe.evaluation.published.claims import MEASURES, Claim
from engine_probe.files.safe_read import read_toml
from engine_probe.recordings.curve import Curve
from engine_probe.recordings.run import Run
from engine_probe.recordings.sweep import Swept
from engine_probe.workload.load import CONCURRENCY, USERS

FOLDER = Path(__file__).parent / "tables"


@dataclass(frozen=True)
class Figure:
    """Describes a figure that can be compared: its name, format, chart, and how a curve gives it."""

    words: str
    form: Callable[[float], str]
    chart: str
    measured: Callable[[Curve, Run, float | None], float | None]
    scale: float = 1.0  # to the chart's unit


def at_load(value: Callable[[Any], float | None]) -> Callable[[Curve, Run, float | None], float | None]:
    """Return a function for the mean over the repeats of a load, which is None if one of them has no value."""

    def measured(curve: Curve, _: Run, at: float | None) -> float | None:
        repeats = [value(figures) for figures in curve.figures if figures.load == at]
        values = [repeat for repeat in repeats if repeat is not None]
        return float(np.mean(values)) if values and len(values) == len(repeats) else None

    return measured


def of_metric(name: str) -> Callable[[Curve, Run, float | None], float | None]:
    """Return a function for the mean of a metric that `compare` has, too."""
    (metric,) = (metric for metric in METRICS if metric.name == name)
    return at_load(lambda figures: metric.value(figures.summary))


def kv_saturation(curve: Curve, _: Run, __: float | None) -> float | None:
    kv = curve.found.kv
    return float(np.mean(kv.derived)) if kv.derived else kv.reached


def peak_output_tokens_per_s(curve: Curve, run: Run, _: float | None) -> float | None:
    """Return the highest rate of all measured loads, each averaged over its repeats."""
    measured = of_metric("output_tokens_per_s")
    rates = [measured(curve, run, load) for load in {figures.load for figures in curve.figures}]
    return max((rate for rate in rates if rate is not None), default=None)


def mean_ms(figures: Any, latency: str) -> float | None:
    (found,) = (each for each in figures.summary.latencies if each.name == latency)
    mean: float | None = found.mean_ms
    return mean


def failed(figures: Any) -> float | None:
    found = figures.summary.success
    return 1 - found.rate if found else None


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
    "weights_gib": Figure(
        "weights, GiB",
        "{:,.4g}".format,
        "",
        lambda _, run, __: None if run.weights_bytes is None else run.weights_bytes / 2**30,
    ),
    "output_tokens_per_s": Figure("output tokens/s", "{:,.4g}".format, THROUGHPUT, of_metric("output_tokens_per_s")),
    "peak_output_tokens_per_s": Figure("peak output tokens/s", "{:,.4g}".format, "", peak_output_tokens_per_s),
    "peak_kv_share": Figure("KV peak", "{:.0%}".format, OCCUPANCY, of_metric("peak_kv_share"), 100),
    "ttft_p50_ms": Figure("TTFT p50, ms", "{:,.4g}".format, "Time to first token", of_metric("ttft_p50_ms")),
    "tpot_p50_ms": Figure("TPOT p50, ms", "{:,.4g}".format, "Time per output token", of_metric("tpot_p50_ms")),
    "ttft_p99_ms": Figure("TTFT p99, ms", "{:,.4g}".format, "", of_metric("ttft_p99_ms")),
    "tpot_p99_ms": Figure("TPOT p99, ms", "{:,.4g}".format, "", of_metric("tpot_p99_ms")),
    "e2el_p50_ms": Figure("E2EL p50, ms", "{:,.4g}".format, "", of_metric("e2el_p50_ms")),
    "e2el_mean_ms": Figure("E2EL mean, ms", "{:,.4g}".format, "", at_load(lambda found: mean_ms(found, "E2EL"))),
    "failed_share": Figure("requests not answered", "{:.1%}".format, "", at_load(failed)),
}


class Published(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    model: str
    what: str
    value: Annotated[float, msgspec.Meta(gt=0)]
    at: Annotated[float, msgspec.Meta(gt=0)] | None = None  # the load; None: the figure belongs to the whole curve
    doubt: str = ""
    setting: dict[str, str | int] = {}


class PublishedPrecision(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Holds a row of a table of precisions; throughput and memory are relative to the first row."""

    name: str
    perplexity: Annotated[float, msgspec.Meta(gt=1)]
    throughput: Annotated[float, msgspec.Meta(gt=0)]
    memory: Annotated[float, msgspec.Meta(gt=0)]


class Reference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    title: str
    source: str
    figures: list[Published] = []
    precisions: list[PublishedPrecision] = []
    claims: list[Claim] = []
    doubt: str = ""
    setting: dict[str, str | int] = {}
    load_in: Literal["concurrent requests", "requests/s"] = "concurrent requests"  # what `at` counts

    def counts(self, unit: str) -> bool:
        """Return whether loads of this unit can be compared; users count as concurrent requests, as in most tables."""
        return unit == self.load_in or (unit == USERS and self.load_in == CONCURRENCY)


@dataclass(frozen=True)
class Beside:
    """Holds a published figure and the measured one; `differs` names the settings that differ."""

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
    """Read a table by its path or the name of a shipped one."""
    path = next((path for path in (Path(name), FOLDER / f"{name}.toml") if path.is_file()), None)
    if path is None:
        raise InputError(f"--reference {name}: no such file, and shipped are {', '.join(shipped())}")
    try:
        reference = msgspec.convert(read_toml(path), Reference)
    except InputError as error:
        raise InputError(f"--reference {error}") from error
    except msgspec.ValidationError as error:
        raise InputError(f"--reference {path}: {error}") from error
    for number, figure in enumerate(reference.figures):
        if figure.what not in FIGURES:
            raise InputError(
                f"--reference {path}: figures[{number}].what is {figure.what!r}: known are {', '.join(FIGURES)}"
            )
    for number, claim in enumerate(reference.claims):
        if claim.measure not in MEASURES:
            raise InputError(
                f"--reference {path}: claims[{number}].measure is {claim.measure!r}: known are {', '.join(MEASURES)}"
            )
    return reference


def beside(reference: Reference, swept: Swept, curves: Sequence[Curve]) -> list[Beside]:
    """Return the published figures of the models that were measured, for curves that count load in the same unit."""
    pairs = []
    for curve in curves:
        run = next((point.run for point in swept.curves[curve.label] if point.run and point.analysis), None)
        if run is None or not reference.counts(curve.unit):
            continue
        number = next(at for at, point in enumerate(swept.points) if point.run is run)
        settings = {**(swept.asked.get("engine") or {}), **swept.settings[number]}
        models = {plain_model(run.facts["model"]["name"]), plain_model(str(settings.get("model", "")))}
        for published in reference.figures:
            if plain_model(published.model) in models:
                measured = FIGURES[published.what].measured(curve, run, published.at)
                differs = tuple(differences({**reference.setting, **published.setting}, run))
                pairs.append(Beside(curve, published, measured, differs))
    return pairs


def plain_model(name: str) -> str:
    """Return a model's name in lower case, without its publisher or folder."""
    return name.rstrip("/").rpartition("/")[2].lower()


def differences(setting: dict[str, str | int], run: Run) -> Iterator[str]:
    gpus = run.facts.get("hardware", {}).get("gpus") or []
    workload = run.facts.get("workload") or {}
    parallel = run.facts["engine"]["arguments"].get("parallel_config") or {}
    measured: dict[str, Any] = {
        **workload,
        **parallel,
        "gpu": gpus[0].get("name", "") if gpus else "no GPU",
        "precision": precision(run.facts),
    }
    is_same: dict[str, Callable[[Any, Any], bool]] = {"gpu": same_gpu, "precision": same_precision}
    for name, published in setting.items():
        value = measured.get(name)
        if value is None:
            yield f"{name} not recorded here"
        elif not is_same.get(name, same_value)(value, published):
            yield f"{name} {value} for {published}"


def precision(facts: dict[str, Any]) -> str | None:
    """Return the quantization method and the type of most weights, or the model's type if it is not quantised."""
    config = facts["engine"]["arguments"].get("model_config") or {}
    if "quantization" not in config:
        return None
    if config["quantization"] is None:
        return str(facts["model"]["dtype"])
    sizes: Counter[str] = Counter()
    for rank in facts.get("loaded") or []:
        sizes.update(rank["dtypes"])
    return " in ".join((str(config["quantization"]), *(dtype for dtype, _ in sizes.most_common(1))))


def same_value(measured: Any, published: Any) -> bool:
    return bool(measured == published)


def same_gpu(measured: Any, published: Any) -> bool:
    """Return whether the published name occurs as whole words: an L40S is not an L4."""
    return re.search(rf"\b{re.escape(str(published))}\b", str(measured), re.IGNORECASE) is not None


def same_precision(measured: Any, published: Any) -> bool:
    """Return whether the published method is a part of vLLM's name, which may add its kernels, as in awq_marlin."""
    return str(published).lower() in re.split(r"[ _]", str(measured).lower())
