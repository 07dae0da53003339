"""The file that `sweep --init` writes: a sweep of seconds, and all other keys commented out with their meaning."""

import textwrap
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

from engine_probe.sweep.definition.file_schema import LENGTH, Key, KeyTable, tables, toml

MODEL = "tiny"
WIDTH = 98

HEAD = """\
# A sweep: the engine, its requests and what varies. This file runs as it is, in seconds.
#   engine_probe sweep THIS_FILE --dry-run    shows its points
#   engine_probe sweep THIS_FILE              measures them
#
# A key directly after "#" is not set; the line shows its default
# or an example. Remove the "#" to set it. Lengths may also be random:
#   input_len = { kind = "uniform", low = 16, high = 512 }
# For completion and checks in an editor: engine_probe sweep --json-schema > sweep.schema.json, and as
# the first line of this file #:schema ./sweep.schema.json
"""

# The keys that the file sets; all others are commented out.
SET: Mapping[str, Mapping[str, Any]] = {
    "": {"question": "At how many requests in flight does throughput saturate?"},
    "engine": {"model": MODEL},
    "workload": {"input_len": 64, "output_len": 32},
}
ARGUMENTS = """\
# `sweep --twin FOLDER` adds a key twin to [engine]: step times, with which it predicts instead of measuring.
# Engine arguments of vLLM under vLLM's own names (EngineArgs).
[engine.arguments]
max_model_len = 512
enforce_eager = true
#gpu_memory_utilization = 0.9
#max_num_seqs = 256
#max_num_batched_tokens = 2048
#enable_prefix_caching = false
#tensor_parallel_size = 2
"""
AXES = """\
# What varies: every combination is a point. An axis is engine.model, engine.arguments.<name>,
# workload.<key> or a key inside it, or probe.
[axes]
"workload.concurrency" = [1, 4, 16]
#"workload.concurrency" = { from = 1, to = 64, factor = 2 }
#"engine.arguments.max_num_batched_tokens" = [512, 2048]

# Extra points; each gives a value for every axis.
#[[include]]
#"workload.concurrency" = 100

# Combinations to leave out; each names values of some axes, one or a list.
#[[exclude]]
#"workload.concurrency" = [16]
"""
MIX = """\
# Other engines that run beside these at each point, with a load of their own.
#[[mix]]
#replicas = 4
#engine = { model = "tiny" }
#workload = { input_len = 64, output_len = 32, concurrency = 4 }
"""
SEARCH = """\
# Instead of axes: search engine arguments for the most throughput, by default 19 settings and then 3
# repeats of the best and the first. An argument has low and high (perhaps log or step), or choices.
# objective may also be "goodput_requests_per_s", which needs limits (search.slo). With [adaptive] each setting is
# measured at the best load that a search finds for it, within adaptive.slo.
#[search]
#kind = "engine_arguments"
#objective = "output_tokens_per_s"
#trials = 19
#confirm = 3
#seed = 0
#[search.arguments.max_num_seqs]
#low = 4
#high = 256
#log = true
#[search.arguments.max_num_batched_tokens]
#low = 256
#high = 4096
#step = 256
#[search.arguments.block_size]
#choices = [16, 32]
"""
CHECKPOINTS = """\
# Model folders that are not shipped, each with its quantization: points of one that is not here are left out.
#[checkpoints]
#"models/llama-3-8b-awq" = "awq"
"""
PARTS = {f"{table.place}.{key.name}": key.text for table in tables() for key in table.keys}
# places whose text is written above
BY_HAND = {"mix[]": MIX, "axes[...]": AXES, "search": SEARCH, "search.arguments[...]": "", LENGTH: ""}


def starter_file(model: str = MODEL) -> str:
    parts = [HEAD]
    for place, found in groupby(tables(), key=lambda table: table.place):
        chosen = {**SET.get(place, {}), **({"model": model} if place == "engine" else {})}
        parts.append(BY_HAND[place] if place in BY_HAND else "\n".join(section(place, list(found), chosen)) + "\n")
        if place == "engine":
            parts.append(ARGUMENTS)
        if place == "mix[]":
            parts.append(CHECKPOINTS)
    return "\n".join(filter(None, parts))


def section(place: str, found: list[KeyTable], chosen: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of one place; of a place that may hold several kinds, one line for each."""
    first, *others = found
    if others or first.kind is not None:
        yield from meaning(f"{PARTS[place]} One of:")
        for table in found:
            yield from meaning(table.text)
            yield f"#{place.rpartition('.')[2]} = {inline(table)}"
        return
    if place:
        yield from meaning(first.text)
        yield f"[{place}]" if chosen else f"#[{place}]"
    for key in first.keys:
        if not key.table and key.kind != "list":
            yield from meaning(key.text)
            yield f"{key.name} = {toml(chosen[key.name])}" if key.name in chosen else f"#{key.name} = {shown(key)}"


def meaning(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


def shown(key: Key) -> str:
    """Return the default, or an example if there is none."""
    return key.default if key.default is not None else key.example or ""


def inline(table: KeyTable) -> str:
    """Return all keys of a kind with their examples as one value."""
    keys = "".join(f", {key.name} = {key.example}" for key in table.keys)
    return f"{{ kind = {toml(table.kind)}{keys} }}"
