"""Which single change of an engine's arguments lets it start on a GPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from engine_probe.engine.models.geometry import geometry
from engine_probe.engine.twin.capacity_plan import Plan
from engine_probe.sweep.preflight.device_plan import configuration, plan_on

RANKS = (2, 4, 8)


def changes_that_fit(plan: Plan, model: str, given: Mapping[str, Any]) -> list[str]:
    """Return the arguments of each change that is enough by itself, the smallest of its kind."""
    lengths = plan.input_len, plan.output_len

    def fits(name: str, value: object) -> bool:
        return plan_on(model, plan.device, {**given, name: value}, lengths)[0].fits

    return [f"{name}={value}" for name, value in _attempts(plan, model, given, fits)]


def _attempts(plan: Plan, model: str, given: Mapping[str, Any], fits: Any) -> Iterator[tuple[str, object]]:
    heads, shared = geometry(configuration(model)).heads, int(given.get("tensor_parallel_size", 1))
    ranks = (count for count in RANKS if count > shared and heads % count == 0)
    if (count := next((count for count in ranks if fits("tensor_parallel_size", count)), None)) is not None:
        yield "tensor_parallel_size", count
    longest = plan.kv_capacity_tokens
    if longest >= plan.input_len + plan.output_len and fits("max_model_len", longest):
        yield "max_model_len", longest
    if "kv_cache_dtype" not in given and fits("kv_cache_dtype", "fp8"):
        yield "kv_cache_dtype", "fp8"
    fewer = (most for most in (512, 256, 128, 64, 32, 16) if most < plan.most_running)
    if (most := next((most for most in fewer if fits("max_num_seqs", most)), None)) is not None:
        yield "max_num_seqs", most
