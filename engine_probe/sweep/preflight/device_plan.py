"""A plan for one model on one GPU of the table of specifications."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine_probe.engine.build import check_model, has_config, model_config, model_geometry
from engine_probe.engine.memory_model import check_experts, window_of_all
from engine_probe.engine.models.geometry import geometry
from engine_probe.engine.twin.capacity_plan import Plan, capacity_plan
from engine_probe.errors import InputError
from engine_probe.sweep.preflight.gpu_memory import named_gpu


def plan_on(
    model: str, device: str, arguments: Mapping[str, Any], lengths: tuple[int, int]
) -> tuple[Plan, tuple[str, ...]]:
    """Return the plan, and doubts about the GPU's figures."""
    gpu, config = named_gpu(device), configuration(model)
    try:
        window_of_all(config, arguments)
    except InputError as error:
        raise InputError(f"{model}: {error}") from error
    longest = arguments.get("max_model_len")
    if longest is not None and 0 < longest < sum(lengths):
        raise InputError(
            f"--input-len {lengths[0]} and --output-len {lengths[1]} come to {sum(lengths):,} tokens, and "
            f"--max-model-len is {longest:,}: raise it, or ask for less"
        )
    assert gpu.speed is not None  # of a named GPU it is
    rates = {**gpu.speed.multiplies}
    speed, link = gpu.speed.bytes_per_second, gpu.link_bytes_per_second
    plan = capacity_plan(config, arguments, (gpu.name, gpu.memory_bytes), rates, speed, lengths, link)
    if plan is None:
        refuse_experts(model, arguments)
        kind, dtypes = config.get("model_type"), [arguments.get(name) for name in ("dtype", "kv_cache_dtype")]
        asked = ", ".join(str(dtype) for dtype in dtypes if dtype) or "its own number format"
        raise InputError(f"{model}: the memory of model_type {kind!r} in {asked} is not known here: choose another")
    heads, ranks = geometry(config).heads, int(arguments.get("tensor_parallel_size", 1))
    if heads % ranks:
        raise InputError(
            f"{model}: tensor_parallel_size = {ranks} does not divide its {heads} attention heads, and vLLM does not "
            "start: choose another"
        )
    return plan, gpu.doubts


def refuse_experts(model: str, arguments: Mapping[str, Any]) -> None:
    """Raise the reason if a model's experts are why its memory is not known."""
    shape = model_geometry(model)
    if shape is not None:
        try:
            check_experts(shape, arguments)
        except InputError as error:
            raise InputError(f"{model}: {error}") from error


def configuration(model: str) -> dict[str, Any]:
    """Return a model's configuration; refuse a model whose configuration is not on this machine."""
    check_model(model)
    if not has_config(model):
        raise InputError(f"model {model}: its configuration is not on this machine: give a folder with a config.json")
    return model_config(model)
