"""Planning and running a workload on a started engine, with vLLM's sampling parameters for its requests."""

from collections.abc import Callable
from functools import cache
from typing import Any
from zlib import crc32

from engine_probe.errors import InputError
from engine_probe.workload.answers import AnswerLog
from engine_probe.workload.dataset_file import Dataset, Encode, Texts
from engine_probe.workload.driver import NO_STOP, Delivery, PlanOutcome, SteadyCheck, drive
from engine_probe.workload.question_set.chat_tokens import chat_encoder
from engine_probe.workload.question_set.question_prompts import EncodeChat, Questions
from engine_probe.workload.request_plan import Plan, Request, check_fits, make_plan
from engine_probe.workload.stop import Stop
from engine_probe.workload.workload_spec import Workload

UNSEEDED = (
    "answers are sampled without a seed for each request: vLLM's CPU build stops when a seeded request's prompt is "
    "computed in chunks; enable_chunked_prefill = false would allow seeds"
)


def sampling_parameters(plan: Plan, seeded: bool = True, logprobs: bool = False) -> Callable[[Request], Any]:
    """Return a function from a request to its parameters, with a seed for each request if tokens are sampled.

    `logprobs` asks for those of the two most probable tokens at each place. Requests with equal parameters share one
    object, which the engine copies.
    """
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    sampling = plan.sampling
    kind = RequestOutputKind.DELTA if sampling.stream else RequestOutputKind.FINAL_ONLY

    def parameters(output_len: int, seed: int | None) -> Any:
        return SamplingParams(
            max_tokens=output_len,
            ignore_eos=sampling.ignore_eos,
            temperature=sampling.temperature,
            seed=seed,
            detokenize=False,
            output_kind=kind,
            logprobs=2 if logprobs else None,
            flat_logprobs=logprobs,  # lists of numbers in place of an object for each token
        )

    if not sampling.temperature or not seeded:
        shared = cache(parameters)
        return lambda request: shared(request.output_len, None)
    return lambda request: parameters(request.output_len, crc32(f"{plan.seed}/{request.id}".encode()))


def can_seed(engine: Any) -> bool:
    """Return whether this engine can take requests with seeds: on a CPU only without chunked prefill.

    After each chunk of a prompt but the last, vLLM resets the torch generator of a seeded request, which a CPU
    generator does not support: it raises, and the engine ends. Any prompt may be computed in chunks, because the
    step's token budget cuts it anywhere, also after a preemption.
    """
    config = engine.vllm_config
    return config.device_config.device_type != "cpu" or not config.scheduler_config.enable_chunked_prefill


def plan_for(llm: Any, workload: Workload) -> Plan:
    """Plan a workload for this `vllm.LLM`; refuse requests that do not fit its `max_model_len`."""
    plan = make_plan(workload, encoder_of_texts(llm, workload), questions_encoder(llm, workload))
    if workload.sampling.temperature and not can_seed(llm.llm_engine):
        plan.notes.append(UNSEEDED)
    check_fits(plan, llm.llm_engine.model_config.max_model_len)
    return plan


def run_plan(
    llm: Any,
    plan: Plan,
    stop: Stop = NO_STOP,
    is_steady: SteadyCheck | None = None,
    answers: AnswerLog | None = None,
    deliveries: list[Delivery] | None = None,
) -> PlanOutcome:
    engine, logprobs = llm.llm_engine, answers is not None and answers.kept.logprobs
    parameters = sampling_parameters(plan, can_seed(engine), logprobs)
    return drive(engine, plan, parameters, stop, is_steady, answers, deliveries=deliveries)


def questions_encoder(llm: Any, workload: Workload) -> EncodeChat | None:
    """Return the function that turns a conversation into this model's token ids; None unless questions are asked."""
    if not isinstance(workload.prompts, Questions) or llm.llm_engine.model_config.skip_tokenizer_init:
        return None
    return chat_encoder(llm.get_tokenizer(), workload.prompts.paths[0])


def encoder_of_texts(llm: Any, workload: Workload) -> Encode | None:
    """Return the function that turns text into this model's token ids; None without text or without a tokenizer."""
    prompts = workload.prompts
    if not isinstance(prompts, Dataset | Texts) or llm.llm_engine.model_config.skip_tokenizer_init:
        return None
    return text_encoder(llm.get_tokenizer(), prompts)


def text_encoder(tokenizer: Any, prompts: Dataset | Texts) -> Encode:
    """Return the function that turns a prompt's text into token ids, by the chat template if it is asked for."""
    has_template = bool(tokenizer.chat_template)
    if not prompts.chat or (isinstance(prompts, Texts) and not has_template):
        return lambda text: list(tokenizer.encode(text))
    if isinstance(prompts, Dataset) and not has_template:
        raise InputError(f"{prompts.path}: chat = true, but this model has no chat template: leave it out")

    def encode(text: str) -> list[int]:
        message = [{"role": "user", "content": text}]
        return list(tokenizer.apply_chat_template(message, add_generation_prompt=True, return_dict=False))

    return encode
