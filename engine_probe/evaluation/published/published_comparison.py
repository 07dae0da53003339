"""Published figures beside what a sweep measured of the same model, with the settings that differ."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine_probe.evaluation.published.figures import FIGURES, Figure
from engine_probe.evaluation.published.reference import Published, Reference
from engine_probe.recordings.curve import Curve
from engine_probe.recordings.run import Run
from engine_probe.recordings.sweep import Swept

Setting = Mapping[str, str | int]


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
        return None if self.measured is None else self.published.ratio(self.measured)


def beside(reference: Reference, swept: Swept, curves: Sequence[Curve]) -> list[Beside]:
    """Return the published figures of the models that were measured, for curves that count load in the same unit.

    A curve is left out for a figure of another value of what the sweep varies, such as another length of the answers.
    """
    pairs = []
    for curve in curves:
        runs = [point.run for point in swept.curves[curve.label] if point.run and point.analysis]
        if not runs or not reference.counts(curve.unit):
            continue
        number = next(at for at, point in enumerate(swept.points) if point.run is runs[0])
        settings = {**(swept.asked.get("engine") or {}), **swept.settings[number]}
        models = {plain_model(runs[0].facts["model"]["name"]), plain_model(str(settings.get("model", "")))}
        for published in reference.figures:
            setting = {**reference.setting, **published.setting}
            same_curve = all(value == setting.get(name, value) for name, value in curve.settings.items())
            if plain_model(published.model) in models and same_curve:
                measured = FIGURES[published.what].measured(curve, runs, published.at)
                pairs.append(Beside(curve, published, measured, tuple(differences(setting, runs[0]))))
    return pairs


def other_units(reference: Reference, curves: Sequence[Curve]) -> list[str]:
    """Return the units of the measured loads that the reference does not count; none where it gives no figures."""
    units = dict.fromkeys(curve.unit for curve in curves if curve.figures)
    return [unit for unit in units if reference.figures and not reference.counts(unit)]


def plain_model(name: str) -> str:
    """Return a model's name in lower case, without its publisher or folder."""
    return name.rstrip("/").rpartition("/")[2].lower()


def differences(setting: Setting, run: Run) -> Iterator[str]:
    workload = run.facts.get("workload") or {}
    prompts = workload.get("prompts") or {}
    parallel = run.facts["engine"]["arguments"].get("parallel_config") or {}
    measured: dict[str, Any] = {
        **workload,
        "input_len": prompt_tokens(workload),
        "path": prompts.get("path"),
        **parallel,
        "gpu": gpu_name(run),
        "precision": precision(run.facts),
    }
    is_same: dict[str, Callable[[Any, Any], bool]] = {"gpu": same_gpu, "precision": same_precision}
    for name, published in setting.items():
        value = measured.get(name)
        if value is None:
            yield f"{name} not recorded here"
        elif not is_same.get(name, same_value)(value, published):
            yield f"{name} {value} for {published}"


def gpu_name(run: Run) -> str:
    """Return the first GPU of a run, or the one by whose datasheet it was predicted."""
    predicted = run.facts.get("predicted") or {}
    if predicted.get("bounds"):
        return str(predicted["calibrated_from"])
    gpus = run.facts.get("hardware", {}).get("gpus") or []
    return str(gpus[0].get("name", "")) if gpus else "no GPU"


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


def prompt_tokens(workload: Mapping[str, Any]) -> Any:
    """Return the tokens of a prompt: those of random prompts, or a shared prefix and what follows it."""
    prompts = workload.get("prompts") or {}
    parts = [prompts.get(name) for name in ("prefix_len", "input_len")]
    return sum(parts) if all(isinstance(part, int) for part in parts) else workload.get("input_len")


def same_value(measured: Any, published: Any) -> bool:
    """Return whether the two agree: a drawn length by its highest, a list by its only entry."""
    if isinstance(measured, Mapping):
        measured = measured.get("high")
    return bool(measured == published or measured == [published])


def same_gpu(measured: Any, published: Any) -> bool:
    """Return whether the published name occurs as whole words: an L40S is not an L4."""
    return re.search(rf"\b{re.escape(str(published))}\b", str(measured), re.IGNORECASE) is not None


def same_precision(measured: Any, published: Any) -> bool:
    """Return whether the published method is a part of vLLM's name, which may add its kernels, as in awq_marlin."""
    return str(published).lower() in re.split(r"[ _]", str(measured).lower())
