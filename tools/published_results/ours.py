"""What of ours stands beside a published figure: arithmetic, a model's geometry, a shipped sweep, a recorded figure."""

import ast
import operator
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine_probe.engine.models.catalogue import catalogue_config
from engine_probe.engine.models.geometry import GIB, Geometry, geometry
from engine_probe.evaluation.published.documents import Stated
from engine_probe.evaluation.published.reference import Published, PublishedPrecision, Reference
from engine_probe.sweep.definition.loader import shipped_sweeps

INTEGRITY = Path(__file__).parents[2] / "docs/results/answers/integrity.md"
NEEDS_A_GPU, QUOTED, NOTHING = "needs a GPU", "quoted, not measured", "-"
H100_NVL_GIB, RESERVED = 93.6, 0.9  # published memory of a GPU, and vLLM's default share of it at the time
L40S_TB_S, L40S_TFLOPS = 0.864, 362  # memory bandwidth and dense 16-bit compute by its datasheet; twice that in INT8
MOST_IN_FLIGHT = 256  # vLLM's default max_num_seqs on such a GPU: more wait for their turn
QUANTISED_EXAMPLE = "llama-3-8b"

JUDGED = "`report --reference l40s_stress` judges it on a sweep of l40s_stress"
CLAIMS = {  # what is known of a claim without that sweep, by its measure
    "faster_than_load": "33 / 3.5 = 9.4 times the latency at 32 times the load: less than in proportion",
    "full_memory": "weights of 15,317 MiB are 33 % of 46,068 MiB (from config.json)",
}
UNITS = {
    "weights_gib": "GiB",
    "weights_gb": "GB",
    "weights_mib": "MiB",
    "weights_gb_in_8_bits": "GB",
    "weights_gb_in_4_bits": "GB",
    "billions": "billion",
    "max_context": "tokens",
    "kv_heads": "KV heads",
    "head_size": "values in a head",
    "kv_bytes_per_token": "bytes of KV cache per token",
}

Recorded = Mapping[str, float | str]

OPERATORS: Mapping[type[ast.operator], Any] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}


def ours_of_claim(measure: str) -> str:
    """Return what is known of a claim, or that a sweep of its own judges it."""
    if measure == "lost_kv_cache":
        found = effect_of_preemption(INTEGRITY.read_text(encoding="utf-8"))
        return f"smollm2: {found} (docs/results/answers/integrity.md)"
    return CLAIMS.get(measure, JUDGED)


def effect_of_preemption(page: str) -> str:
    """Return what the page on integrity found of preempted requests in its first sweep."""
    (row,) = (line for line in page.splitlines() if line.startswith("| Preemption and recomputation change outputs |"))
    return row.partition("integrity: ")[2].partition(". integrity_")[0]


def ours_of(row: Stated, recorded: Recorded) -> str:
    """Return what stands beside a row, with how it was made."""
    parts = []
    if row.check:
        parts.append(f"{row.check.replace('**', '^').replace('*', 'x')} = {number(calculated(row.check))}")
    if row.geometry:
        parts.append(f"{number(of_geometry(row.geometry))} {UNITS[named(row.geometry)[1]]} (from config.json)")
    if row.sweep:
        parts.append(of_sweep(row))
    if row.recorded:
        parts.append(of_record(row.recorded, recorded, row.unit))
    if row.needs or not parts:
        parts.append(row.needs or without(row))
    return "; ".join(parts)


def without(row: Stated) -> str:
    """Say why nothing stands beside a row of this kind."""
    if row.is_withheld:
        return "not guessed"
    reasons = {"measured": NEEDS_A_GPU, "expected": NEEDS_A_GPU, "claim": "not tested here", "quoted": QUOTED}
    return reasons.get(row.kind, NOTHING)


def calculated(expression: str) -> float:
    """Calculate an arithmetic expression of numbers."""
    return value_of(ast.parse(expression, mode="eval").body)


def value_of(node: ast.expr) -> float:
    match node:
        case ast.BinOp(left, sign, right) if type(sign) in OPERATORS:
            return float(OPERATORS[type(sign)](value_of(left), value_of(right)))
        case ast.Constant(int() | float() as value):
            return float(value)
    raise ValueError(f"{ast.unparse(node)} is no arithmetic of numbers")


def of_geometry(asked: str) -> float:
    """Return a figure of a model: `gpt2-xl: weights_gib`, perhaps divided: `... / 2`."""
    model, name, divisor = named(asked)
    return geometry_figure(geometry(catalogue_config(model)), name) / float(divisor or 1)


def named(asked: str) -> tuple[str, str, str]:
    """Return the model, the figure, and the number that divides it, perhaps empty."""
    model, _, what = asked.partition(": ")
    name, _, divisor = what.partition(" / ")
    return model, name, divisor


def geometry_figure(found: Geometry, name: str) -> float:
    rest = found.parameters - found.linear_parameters
    figures = {
        "weights_gib": found.weights_bytes() / GIB,
        "weights_gb": found.weights_bytes() / 1e9,
        "weights_mib": found.weights_bytes() / 2**20,
        "weights_gb_in_8_bits": (2 * rest + found.linear_parameters) / 1e9,
        "weights_gb_in_4_bits": (2 * rest + found.linear_parameters / 2) / 1e9,
        "billions": found.parameters / 1e9,
        "max_context": found.max_context,
        "kv_heads": found.kv_heads,
        "head_size": found.head_size,
        "kv_bytes_per_token": found.kv_bytes_per_token(),
    }
    return float(figures[name])


def of_sweep(row: Stated) -> str:
    """Return the value of the shipped sweep, and whether it is the published one."""
    name, _, key = row.sweep.partition(": ")
    path = shipped_sweeps().get(name)
    if path is None:
        return f"no sweep {name}"
    value = in_sweep(tomllib.loads(path.read_text(encoding="utf-8")), key)
    value = row.otherwise if value is None and row.otherwise != "" else value
    words = setting_words(value)
    same = words == setting_words(row.value) or (isinstance(value, float | int) and value == row.value)
    return f"{'the same' if same else words} in the sweep {name}"


def in_sweep(sweep: Mapping[str, Any], key: str) -> Any:
    """Return the values of an axis and of extra points, or the value of a key. None if the sweep has neither."""
    if key == "prompts":
        return len(sweep["workload"]["prompts"]["texts"])
    if key in (axes := sweep.get("axes", {})):
        extra = [point[key] for point in sweep.get("include", ()) if key in point]
        return [*axes[key], *(value for value in extra if value not in axes[key])] if extra else axes[key]
    found: Any = sweep
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def setting_words(value: Any) -> str:
    match value:
        case None:
            return "left out"
        case bool():
            return "on" if value else "off"
        case list():
            return ", ".join(map(setting_words, value))
        case Mapping():
            return ", ".join(f"{name} {setting_words(each)}" for name, each in value.items())
        case int() | float():
            return f"{value:g}" if abs(value) < 1e6 else f"{value:.0f}"
    return str(value)


def of_record(name: str, recorded: Recorded, unit: str = "") -> str:
    value = recorded.get(name)
    if value is None:
        return NEEDS_A_GPU
    how = "smollm2 on two CPU cores" if name.startswith("smollm2") else "vLLM's scheduler without a model"
    if isinstance(value, str):
        return f"{value} ({how})"
    words = f"{value:.0%}" if "share" in name or unit == "%" else f"{number(value)} {unit}".rstrip()
    return f"{words} ({how})"


def ours_of_figure(figure: Published, reference: Reference, recorded: Recorded) -> str:
    """Return what stands beside a figure of a curve."""
    setting = {**reference.setting, **figure.setting}
    shards = int(setting.get("tensor_parallel_size", 1))
    match figure.what:
        case "weights_gib" | "weights_gib_of_gpu":
            return f"{number(of_geometry(f'{figure.model}: weights_gib / {shards}'))} (from config.json)"
        case "kv_capacity_tokens":
            return capacity_bound(figure.model)
        case "peak_kv_share":
            return of_record(f"{figure.model}.{figure.what}.{figure.at:g}", recorded)
        case "kv_saturation":
            return of_record(f"{figure.model}.{figure.what}", recorded)
        case "output_tokens_per_s" | "tpot_p50_ms" | "tpot_p99_ms" if bound_by_bandwidth(figure, reference):
            return bandwidth_bound(figure, setting)
        case "output_tokens_per_s" if reference.setting.get("gpu") == "L40S" and "input_len" in setting:
            return f"{compute_words(figure.model, setting)}; {NEEDS_A_GPU}"
        case "speed_up":
            return of_record(f"smollm2.speed_up.{figure.at:g}", recorded)
    return NEEDS_A_GPU


def bound_by_bandwidth(figure: Published, reference: Reference) -> bool:
    """Return whether a bound follows: on an L40S, of a time per token, or of a number of requests in flight."""
    held = figure.what.startswith("tpot") or (figure.at or MOST_IN_FLIGHT) < MOST_IN_FLIGHT
    return reference.setting.get("gpu") == "L40S" and held


def read_each_step_gb(model: str, setting: Mapping[str, str | int]) -> float:
    """Return the GB of weights that each GPU reads in a step: all but the input embedding, of which it reads rows."""
    config = catalogue_config(model)
    found = geometry(config)
    width = {"int8": 1.0, "awq": 0.5}.get(str(setting.get("precision")), found.linear_bytes)
    others = found.parameters - found.linear_parameters
    if not config.get("tie_word_embeddings"):
        others -= config["vocab_size"] * config["hidden_size"]
    return (2 * others + width * found.linear_parameters) / 1e9 / int(setting.get("tensor_parallel_size", 1))


def bandwidth_bound(figure: Published, setting: Mapping[str, str | int]) -> str:
    """Return what a GPU's memory bandwidth allows: a lower bound of TPOT, an upper one of throughput."""
    each = read_each_step_gb(figure.model, setting)
    step_ms = each / L40S_TB_S
    how = f"{each:.1f} GB of weights a step at {L40S_TB_S} TB/s"
    if figure.what.startswith("tpot"):
        return f"at least {step_ms:.1f} ({how}); {NEEDS_A_GPU}"
    rate = f"at most {(figure.at or 1) / step_ms * 1e3:,.0f} ({how})"
    return f"{rate}; {compute_words(figure.model, setting)}; {NEEDS_A_GPU}"


def compute_words(model: str, setting: Mapping[str, str | int]) -> str:
    most = computed_tokens_per_s(model, setting)
    return f"at any batch at most {most:,.0f} (matrix products at {L40S_TFLOPS} TFLOPS)"


def computed_tokens_per_s(model: str, setting: Mapping[str, str | int]) -> float:
    """Return the output tokens per second whose matrix products the GPUs can compute, those of prompts included."""
    config = catalogue_config(model)
    prompt_share = int(setting["input_len"]) / int(setting["output_len"])
    head = config["vocab_size"] * config["hidden_size"]  # for output tokens alone
    products = geometry(config).linear_parameters * (1 + prompt_share) + head
    tflops = L40S_TFLOPS * (2 if setting.get("precision") == "int8" else 1)
    return tflops * 1e12 * int(setting.get("tensor_parallel_size", 1)) / (2 * products)


def capacity_bound(model: str) -> str:
    """Return the most KV tokens that the weights leave of what vLLM reserves, before activations."""
    found = geometry(catalogue_config(model))
    left = RESERVED * H100_NVL_GIB * GIB - found.weights_bytes()
    return f"at most {left / found.kv_bytes_per_token():,.0f}, less activations (0.9 of 93.6 GiB less the weights)"


def ours_of_memory(each: PublishedPrecision) -> str:
    """Return the relative weights of a model of 8 billion parameters, where the name tells the bits."""
    bits = 4 if "4" in each.name or "desc_act" in each.name else 8 if "8" in each.name else 16
    found = geometry(catalogue_config(QUANTISED_EXAMPLE))
    base = geometry_figure(found, "weights_gb")
    share = 1.0 if bits == 16 else geometry_figure(found, f"weights_gb_in_{bits}_bits") / base
    return f"{share:.2f} x for Llama-3 8B, without scales (from config.json)"


def printed(value: float) -> str:
    """Return a published number with all its digits."""
    return f"{value:,.0f}" if value == int(value) else f"{value:,}"


def number(value: float) -> str:
    if value == int(value) and abs(value) < 1e15:
        return f"{value:,.0f}"
    return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
