"""Starting a twin: a `vllm.LLM` whose executor computes nothing, with the limits of the engine that it stands for."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine_probe.engine.build import choose_process, has_config, llm_arguments, model_config
from engine_probe.engine.engine_spec import EngineSpec
from engine_probe.engine.failures import startup_error
from engine_probe.engine.models.attention_kinds import UnknownLayersError, attention_kinds
from engine_probe.engine.parallelism import CONTEXT, DATA, parallel_size
from engine_probe.engine.twin.drafts.acceptance import Acceptance, are_asynchronous, check_drafts
from engine_probe.engine.twin.settings import Twin
from engine_probe.engine.twin.step_times import REQUEST_TERMS, StepTimes
from engine_probe.engine.twin.virtual_clock import VirtualClock
from engine_probe.errors import InputError

if TYPE_CHECKING:
    from vllm import LLM

UNSUPPORTED = {
    "kv_transfer_config": "what other engines send is not known",
    "enable_lora": "the time of adapters is not known",
}


TOKENIZERS = ("*token*", "vocab*", "*.model", "*.tiktoken", "tekken*")  # names of files that hold one
EXPERTS = ("num_experts", "moe_num_experts", "n_routed_experts", "num_local_experts")
IN_STEP = (
    "a twin cannot have it with a model of experts, whose data-parallel cores take every step together: how long one "
    "waits for the others is not known"
)


def has_experts(config: Mapping[str, Any]) -> bool:
    """Return whether a model has experts, by the names under which vLLM looks for their number."""
    text = config.get("text_config") or config
    return any(isinstance(text.get(name), int | list) and text[name] for name in EXPERTS)


def check_twin(spec: EngineSpec, measured: Acceptance | None = None) -> Acceptance | None:
    """Refuse engine arguments whose effect on a step a twin cannot predict, and models whose KV cache is not known.

    Return the acceptance of drafts: that of the arguments, or else the `measured` one. None without drafts.
    """
    for name, why in UNSUPPORTED.items():
        if given := spec.arguments.get(name):
            raise InputError(f"engine.arguments.{name} = {given!r}: a twin cannot have it, because {why}")
    if (size := parallel_size(spec.arguments, CONTEXT)) > 1:
        raise InputError(
            f"engine.arguments.{CONTEXT} = {size}: a twin cannot have it: how ranks divide a prompt is not known here"
        )
    if has_config(spec.model):  # the executor looks at those that vLLM fetches
        if (size := parallel_size(spec.arguments, DATA)) > 1 and has_experts(model_config(spec.model)):
            raise InputError(f"engine.arguments.{DATA} = {size}: {IN_STEP}")
        try:
            attention_kinds(model_config(spec.model), spec.arguments)
        except UnknownLayersError:
            pass  # vLLM's own code says what they keep, when the twin starts
        except InputError as error:
            raise InputError(f"engine.model {spec.model!r}: {error}") from error
    return check_drafts(spec.arguments, measured)


def build_twin(spec: EngineSpec, twin: Twin, clock: VirtualClock, say: Callable[[str], None], seed: int = 0) -> LLM:
    """Start a twin of one core; its limits are engine arguments that it gets unless the spec has them.

    Its step times scatter in another way with another `seed`.
    """
    acceptance, times = check_twin(spec, twin.acceptance), twin.step_times
    limits = dict(twin.limits)
    if acceptance and not are_asynchronous(spec.arguments):
        limits.pop("async_scheduling", None)  # vLLM has it not with such drafts
    given = {**limits, **without_tokenizer(spec), **spec.arguments}
    arguments = llm_arguments(EngineSpec(spec.model, given), say)
    arguments.pop("kv_cache_memory_bytes", None)  # no memory stands behind the blocks
    choose_process(multiprocess=False)
    from vllm import LLM

    from engine_probe.engine.twin.counting.counting_scheduler import count_requests
    from engine_probe.engine.twin.executor import twin_executor

    try:
        executor = twin_executor(clock, times.drawn(seed), times.overlaps, acceptance)
        with as_on_a_gpu():
            llm = LLM(**{**arguments, "distributed_executor_backend": executor})
        count_requests(llm.llm_engine)
        charge_requests(llm.llm_engine, clock, times)
        gc.freeze()  # what an engine consists of stays; looking through it costs as much as the steps
        return llm
    except InputError:
        raise
    except Exception as error:  # the boundary: vLLM, torch, pydantic and the hub have no common error
        raise startup_error(spec.model, error) from error


def without_tokenizer(spec: EngineSpec) -> dict[str, Any]:
    """Return the argument that starts a model whose folder holds no tokenizer. Empty for other models."""
    folder = Path(spec.model).expanduser()
    if "tokenizer" in spec.arguments or not (folder / "config.json").is_file():
        return {}
    return {} if any(any(folder.glob(name)) for name in TOKENIZERS) else {"skip_tokenizer_init": True}


def charge_requests(engine: Any, clock: VirtualClock, times: StepTimes) -> None:
    """Let time pass where the host handles requests between steps: after one arrived, and after an answer was taken.

    vLLM stamps the arrival before it hands the request to the core, as it does in a real engine.
    """
    arrival, end = (round(times.requests[name].ns) if name in times.requests else 0 for name in REQUEST_TERMS)
    add_request, step = engine.engine_core.add_request, engine.step

    def charged_add_request(*args: Any, **kwargs: Any) -> Any:
        clock.advance_to(clock.now_ns() + arrival)
        return add_request(*args, **kwargs)

    def charged_step() -> Any:
        outputs = step()
        if outputs:
            clock.advance_to(clock.now_ns() + end * sum(output.finished for output in outputs))
        return outputs

    if arrival:
        engine.engine_core.add_request = charged_add_request
    if end:
        engine.step = charged_step


@contextmanager
def as_on_a_gpu() -> Iterator[None]:
    """Let engines that are built in the block schedule as they would on a GPU.

    vLLM's CPU build ends the resolution of an engine's arguments by switching asynchronous scheduling off, as not
    required, and for MLA also prefix caching and chunked prefill, whose block and step it sets for its own kernel. It
    keeps the states of recurrent layers in float32.
    """
    from vllm.platforms import current_platform

    kind = type(current_platform)
    resolve = kind.check_and_update_config

    def resolve_all_else(config: Any) -> None:
        given_block = config.cache_config.user_specified_block_size
        kept = [(config.scheduler_config, "async_scheduling"), (config.cache_config, "mamba_ssm_cache_dtype")]
        if config.model_config is not None and config.model_config.use_mla:
            kept += [(config.scheduler_config, name) for name in ("enable_chunked_prefill", "max_num_batched_tokens")]
            kept += [(config.cache_config, name) for name in ("enable_prefix_caching", *["block_size"] * given_block)]
        before = [getattr(part, name) for part, name in kept]
        resolve(config)
        for (part, name), value in zip(kept, before, strict=True):
            setattr(part, name, value)

    kind.check_and_update_config = staticmethod(resolve_all_else)
    try:
        yield
    finally:
        kind.check_and_update_config = resolve
