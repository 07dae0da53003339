"""Planning and running a workload on a started engine."""

from typing import Any

from engine_probe.errors import InputError
from engine_probe.workload.dataset_file import Dataset, Encode
from engine_probe.workload.driver import NO_STOP, Outcome, SteadyCheck, drive
from engine_probe.workload.request_plan import Plan, check_fits, make_plan
from engine_probe.workload.sampling import UNSEEDED, can_seed, sampling_parameters
from engine_probe.workload.spec import Workload
from engine_probe.workload.stop import Stop


def plan_for(llm: Any, workload: Workload) -> Plan:
    """Plan a workload for this `vllm.LLM`; refuse requests that do not fit its `max_model_len`."""
    plan = make_plan(workload, text_encoder(llm, workload))
    if workload.sampling.temperature and not can_seed(llm.llm_engine):
        plan.notes.append(UNSEEDED)
    check_fits(plan, llm.llm_engine.model_config.max_model_len)
    return plan


def run_plan(llm: Any, plan: Plan, stop: Stop = NO_STOP, is_steady: SteadyCheck | None = None) -> Outcome:
    engine = llm.llm_engine
    return drive(engine, plan, sampling_parameters(plan, can_seed(engine)), stop, is_steady)


def text_encoder(llm: Any, workload: Workload) -> Encode | None:
    """Return the function that turns text into this model's token ids; None if the workload holds no text."""
    dataset = workload.prompts
    if not isinstance(dataset, Dataset):
        return None
    if llm.llm_engine.model_config.skip_tokenizer_init:
        raise InputError(f"{dataset.path} holds text, but this model has no tokenizer: use prompts of token ids")
    tokenizer = llm.get_tokenizer()
    if not dataset.chat:
        return lambda text: list(tokenizer.encode(text))
    if not tokenizer.chat_template:
        raise InputError(f"{dataset.path}: chat = true, but this model has no chat template: leave it out")

    def encode(text: str) -> list[int]:
        message = [{"role": "user", "content": text}]
        return list(tokenizer.apply_chat_template(message, add_generation_prompt=True, return_dict=False))

    return encode
