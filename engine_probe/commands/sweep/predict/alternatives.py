"""What is predicted of a recorded run: its settings, and the changes to them, checked before anything runs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine_probe.commands.sweep.calibration_checks import check_machines
from engine_probe.commands.sweep.predict.replayed_point import engine_of
from engine_probe.commands.sweep.twin import acceptance, check_alike, check_settings, recorded
from engine_probe.engine.arguments import check_arguments
from engine_probe.engine.twin.build import check_twin
from engine_probe.errors import InputError
from engine_probe.files.config_file import check_given_once, parse_value
from engine_probe.recordings.run import Run, load
from engine_probe.recordings.sweep import is_sweep, load_sweep
from engine_probe.sweep.definition.sweep_file import EngineSection
from engine_probe.telemetry.hardware import hardware_facts
from engine_probe.text_format import suggestion

PREFIX = "engine.arguments."
# Engine arguments that change which requests a step has, but not how long it takes with them.
OF_THE_SCHEDULER = (
    "max_num_seqs",
    "max_num_batched_tokens",
    "num_gpu_blocks_override",
    "max_model_len",
    "enable_prefix_caching",
    "enable_chunked_prefill",
    "long_prefill_token_threshold",
    "scheduling_policy",
)
POOL = ("gpu_memory_utilization", "kv_cache_memory_bytes", "kv_cache_memory")


@dataclass(frozen=True)
class Alternatives:
    """A recorded run, where step times come from, and the changes of its engine by their names."""

    run: Run
    times: Sequence[Run]
    times_from: Path
    changes: Mapping[str, Mapping[str, Any]]


def alternatives(folder: Path, settings: Sequence[str], times_from: Path | None) -> Alternatives:
    """Read what is asked; refuse what cannot be predicted."""
    run = one_run(folder)
    source = f"--times {times_from}" if times_from else str(folder)
    times = recorded(times_from, source) if times_from else [run]
    check_alike([run, *times], source)
    check_machines([run, *times], source)
    changes = changes_of(settings)
    model, arguments = engine_of(run.facts)
    accepted = check_twin(EngineSection(model, arguments).spec, acceptance([run], source))
    for name, change in changes.items():
        check_arguments(change)
        engine = EngineSection(model, {**arguments, **change})
        check_settings(engine, times[0].facts, source)
        check_twin(engine.spec, accepted)
        if all(arguments.get(key) == value for key, value in change.items()):
            raise InputError(f"--set {name}: the run had that, and is predicted unchanged anyway: leave it out")
        check_pool(name, engine.arguments)
        check_step(name, engine.arguments)
    return Alternatives(run, times, times_from or folder, changes)


def one_run(folder: Path) -> Run:
    """Return the recording of a folder; refuse a sweep of several, and what is itself predicted."""
    if is_sweep(folder):
        runs = load_sweep(folder).runs
        if len(runs) != 1:
            first = f", such as {runs[0].folder}" if runs else ""
            raise InputError(f"{folder} is a sweep of {len(runs)} recordings: name one of them{first}")
    run = recorded(folder, str(folder))[0]
    if not run.iterations.num_rows:
        raise InputError(f"{folder} holds no step: there is nothing to predict")
    return load(run.folder)


def changes_of(settings: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the changes by their names; one setting may be a list, each of whose values is a change."""
    fixed: dict[str, Any] = {}
    check_given_once(setting.removeprefix(PREFIX) for setting in settings)
    listed: tuple[str, list[Any]] | None = None
    for setting in settings:
        name, equals, text = setting.partition("=")
        name = name.removeprefix(PREFIX)
        if not equals or not name:
            raise InputError(f"--set {setting}: give it as name=value, for example max_num_seqs=64")
        check_name(name, setting)
        value = parse_value(text)
        if not isinstance(value, list):
            fixed[name] = value
        elif listed is not None:
            raise InputError(f"--set {setting}: {listed[0]} is a list already: vary one setting at a time")
        elif not value:
            raise InputError(f"--set {setting} names no value: give one, or a list of some")
        else:
            listed = (name, value)
    alternatives = [fixed] if listed is None else [{**fixed, listed[0]: value} for value in listed[1]]
    return {words(change): change for change in alternatives if change}


def words(change: Mapping[str, Any]) -> str:
    written = {name: value if isinstance(value, str) else json.dumps(value) for name, value in change.items()}
    return ", ".join(f"{name}={value}" for name, value in written.items())


def check_name(name: str, setting: str) -> None:
    if name in POOL:
        raise InputError(f"--set {setting}: the pool is replayed in blocks, so give it as num_gpu_blocks_override")
    if name not in OF_THE_SCHEDULER:
        hint = suggestion(name, OF_THE_SCHEDULER) or f": these can be changed: {', '.join(OF_THE_SCHEDULER)}"
        raise InputError(f"--set {setting}: the recorded step times hold for settings of the scheduler only{hint}")


def check_pool(name: str, arguments: Mapping[str, Any]) -> None:
    """Refuse a pool that does not hold the longest request, with which vLLM does not start."""
    block, longest = arguments["block_size"], arguments["max_model_len"]
    blocks = arguments["num_gpu_blocks_override"] - 1  # one is vLLM's null block
    if blocks * block < longest:
        raise InputError(
            f"--set {name}: {blocks:,} blocks of {block:,} tokens do not hold one request of max_model_len = "
            f"{longest:,}: set num_gpu_blocks_override to at least {-(-longest // block) + 1:,}, or a smaller "
            "max_model_len, too"
        )


def check_step(name: str, arguments: Mapping[str, Any]) -> None:
    """Refuse a step of fewer tokens than requests, or than an undivided prompt may have: vLLM does not start."""
    tokens, requests, longest = (arguments[key] for key in ("max_num_batched_tokens", "max_num_seqs", "max_model_len"))
    whole = arguments.get("enable_chunked_prefill") is False
    for least, words in ((requests, "max_num_seqs"), (longest if whole else 1, "max_model_len of undivided prompts")):
        if tokens < least:
            raise InputError(
                f"--set {name}: max_num_batched_tokens = {tokens:,} is less than {words} = {least:,}, and vLLM does "
                "not start: set both"
            )


def check_here(run: Run) -> None:
    """Refuse --verify on other hardware than the run's."""
    known, here = (hardware_words(facts) for facts in (run.facts.get("hardware") or {}, hardware_facts()))
    if known != here:
        raise InputError(f"--verify: the run is from {known}, and here is {here}: leave --verify out, or run it there")


def hardware_words(facts: Mapping[str, Any]) -> str:
    gpus = [str(gpu.get("name")) for gpu in facts.get("gpus") or []]
    if gpus:
        return " + ".join(f"{gpus.count(name)} x {name}" for name in dict.fromkeys(gpus))
    host = facts.get("host") or {}
    return f"{host.get('name', 'an unknown processor')} with {host.get('cores', 'unknown')} cores"
