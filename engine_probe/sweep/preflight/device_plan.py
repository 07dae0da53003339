"""A plan for one model on one GPU of the table of specifications."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from engine_probe.engine.build import check_model, has_config, model_config, model_geometry
from engine_probe.engine.memory_model import BLOCK, batch_limits, check_experts, window_of_all
from engine_probe.engine.models.attention_kinds import UnknownLayersError
from engine_probe.engine.models.built_model import BuiltModel, built_model
from engine_probe.engine.models.geometry import Geometry, is_known
from engine_probe.engine.parallelism import parallel_size
from engine_probe.engine.twin.capacity_plan import CapacityPlan, capacity_plan, sizes_of
from engine_probe.errors import InputError
from engine_probe.sweep.preflight.gpu_memory import named_gpu

RANKS = (2, 4, 8)


def plan_on(
    model: str, device: str, arguments: Mapping[str, Any], lengths: tuple[int, int]
) -> tuple[CapacityPlan, tuple[str, ...]]:
    """Return the plan, and doubts about the GPU's figures."""
    gpu, config = named_gpu(device), configuration(model)
    built = built_for(model, arguments)
    longest = arguments.get("max_model_len")
    if longest is not None and 0 < longest < sum(lengths):
        raise InputError(
            f"--input-len {lengths[0]} and --output-len {lengths[1]} come to {sum(lengths):,} tokens, and "
            f"--max-model-len is {longest:,}: raise it, or ask for less"
        )
    assert gpu.speed is not None  # of a named GPU it is
    rates = {**gpu.speed.multiplies}
    speed, link = gpu.speed.bytes_per_second, gpu.link_bytes_per_second
    plan = capacity_plan(config, arguments, (gpu.name, gpu.memory_bytes), rates, speed, lengths, link, built)
    if plan is None:
        refuse_built(model, arguments, built)
        kind, dtypes = config.get("model_type"), [arguments.get(name) for name in ("dtype", "kv_cache_dtype")]
        asked = ", ".join(str(dtype) for dtype in dtypes if dtype) or "its own number format"
        raise InputError(f"{model}: the memory of model_type {kind!r} in {asked} is not known here: choose another")
    limits = batch_limits(arguments, gpu.name, gpu.memory_bytes)
    check_start(model, sizes_of(config, built)[0], arguments, limits, sum(lengths))
    return plan, gpu.doubts


def check_start(model: str, shape: Geometry, arguments: Mapping[str, Any], limits: tuple[int, int], asked: int) -> None:
    """Refuse what vLLM on a GPU refuses for other reasons than memory; the longest request has `asked` tokens."""
    check_heads(model, shape, parallel_size(arguments, "tensor_parallel_size"))
    check_lengths(model, shape.max_context, arguments, asked)
    check_batch(model, limits)
    block = arguments.get("block_size", BLOCK)
    if shape.latent is None and block % BLOCK:
        raise InputError(
            f"{model}: block_size = {block}: vLLM's attention on GPUs takes multiples of {BLOCK}, and does not start: "
            "choose one"
        )


def check_heads(model: str, shape: Geometry, ranks: int) -> None:
    """Refuse so many ranks if vLLM cannot divide the heads among them: KV heads may be copied, but only as wholes."""
    divided = {"attention heads": shape.heads % ranks}
    if shape.latent is None:
        more, fewer = max(shape.kv_heads, ranks), min(shape.kv_heads, ranks)
        divided["KV heads"] = more % fewer
    for name, rest in divided.items():
        if rest:
            number = shape.heads if name == "attention heads" else shape.kv_heads
            raise InputError(
                f"{model}: tensor_parallel_size = {ranks} does not divide its {number} {name}, and vLLM does not "
                "start: choose another"
            )


def check_lengths(model: str, longest: int, arguments: Mapping[str, Any], asked: int) -> None:
    """Refuse lengths beyond the model's own context, with which vLLM does not start."""
    if "hf_overrides" in arguments:
        return  # which may change it
    given = arguments.get("max_model_len")
    if isinstance(given, int) and given > longest:
        raise InputError(
            f"{model}: max_model_len = {given:,} is more than its context of {longest:,} tokens, and vLLM does not "
            f"start: give at most {longest}"
        )
    if asked > longest:
        raise InputError(
            f"{model}: requests of {asked:,} tokens are longer than its context of {longest:,}: ask for less"
        )


def check_batch(model: str, limits: tuple[int, int]) -> None:
    """Refuse a step of fewer tokens than requests, with which vLLM does not start."""
    tokens, requests = limits
    if tokens < requests:
        raise InputError(
            f"{model}: max_num_batched_tokens = {tokens:,} is less than max_num_seqs = {requests:,}, and vLLM does not "
            "start: raise it, or lower max_num_seqs"
        )


def built_for(model: str, arguments: Mapping[str, Any]) -> BuiltModel | None:
    """Return what vLLM's own code builds of a model whose shape or layers are not derived here. None for the others."""
    config = configuration(model)
    try:
        window_of_all(config, arguments)
        if is_known(config):
            return None
    except UnknownLayersError:
        pass  # vLLM's own code says what they keep
    except InputError as error:
        raise InputError(f"{model}: {error}") from error
    return built_model(str(Path(model).expanduser()), arguments)


def refuse_built(model: str, arguments: Mapping[str, Any], built: BuiltModel | None) -> None:
    """Raise the reason if experts, or what vLLM's code cannot divide, are why a model's memory is not known."""
    shape = model_geometry(model) if built is None else built.geometry
    try:
        if shape is not None:
            check_experts(shape, arguments)
        if built is not None:
            built.layout(parallel_size(arguments, "tensor_parallel_size"))
    except InputError as error:
        raise InputError(f"{model}: {error}") from error


def configuration(model: str) -> dict[str, Any]:
    """Return a model's configuration; refuse a model whose configuration is not on this machine."""
    check_model(model)
    if not has_config(model):
        raise InputError(f"model {model}: its configuration is not on this machine: give a folder with a config.json")
    return model_config(model)


def changes_that_fit(plan: CapacityPlan, model: str, given: Mapping[str, Any]) -> list[str]:
    """Return the arguments of each change that is enough by itself, the smallest of its kind."""
    lengths = plan.input_len, plan.output_len

    def fits(name: str, value: object) -> bool:
        try:
            return plan_on(model, plan.device, {**given, name: value}, lengths)[0].fits
        except InputError:  # vLLM's code does not divide every model by every number of ranks
            return False

    return [f"{name}={value}" for name, value in _attempts(plan, model, given, fits)]


def _attempts(plan: CapacityPlan, model: str, given: Mapping[str, Any], fits: Any) -> Iterator[tuple[str, object]]:
    heads = sizes_of(configuration(model), built_for(model, given))[0].heads
    shared = int(given.get("tensor_parallel_size", 1))
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
