"""The whole files that are mutated, and every command that reads each of them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from kernels_bench.devices.cpu import cpu
from kernels_bench.results import Report
from tests.hostile.files import mutations
from tests.support.answers.simulated_answers import normal
from tests.support.recordings.hardware_reports import box
from tests.support.recordings.run_folders import facts, ran, write_run, write_sweep
from tests.support.recordings.small_tables import table
from tests.support.sweeps.answered_sweeps import Answered, write_answered_sweep
from tests.support.sweeps.judged_sweeps import write_judged_sweep

Call = tuple[str, ...] | Callable[[Path], object]  # words for `engine_probe`, or a function of the sandbox

RUN_COMMANDS: tuple[Call, ...] = (
    ("report", "{in}/run", "--html", "{out}/page.html", "--json", "{out}/figures.json"),
    ("compare", "{in}/run", "{in}/other", "--html", "{out}/page.html"),
    ("trace", "{in}/run", "--out", "{out}/trace"),
    ("export", "{in}/run", "--to", "csv", "--out", "{out}/csv"),
    ("export", "{in}/run", "--to", "vllm-bench-serve", "--save-detailed", "--out", "{out}/serve.json"),
)
SWEEP_REPORT = ("report", "{in}/sweep", "--html", "{out}/page.html", "--json", "{out}/figures.json")
EXPERIMENT_REPORT = ("report", "{in}/sweep", "{in}/sweep2", "--html", "{out}/page.html", "--json", "{out}/figures.json")
SUITE_REPORT = ("report", "{in}/suite", "--html", "{out}/page.html", "--json", "{out}/figures.json")
JUDGED_REPORT, ANSWERED_REPORT, PREDICTED_REPORT = (
    ("report", "{in}/" + name, "--html", "{out}/page.html", "--json", "{out}/figures.json")
    for name in ("judged", "answered", "predicted")
)
PREDICTED = {"calibrated_from": "runs/real", "step_times": {"error": 0.05, "recordings": 5}, "bounds": False}


def run_in_a_notebook(sandbox: Path) -> None:
    from engine_probe import load

    load(sandbox / "in" / "run")._repr_html_()


def table_of_a_sweep(sandbox: Path) -> None:
    from engine_probe import load_sweep

    swept = load_sweep(sandbox / "in" / "sweep")
    swept.to_pandas()
    swept._repr_html_()


def go_on(sandbox: Path) -> None:
    from engine_probe.sweep.execution.resume import finished_rows, untried_ids

    finished_rows(sandbox / "in" / "sweep")
    untried_ids(sandbox / "in" / "sweep")


def baseline(sandbox: Path) -> None:
    from kernels_bench.output.json_file import Baseline, read_report

    path = sandbox / "in" / "validate.json"
    Baseline(read_report(path), path).check_covers("NVIDIA H200")


def text_to_predict(sandbox: Path) -> None:
    from engine_probe.perplexity.perplexity_spec import Quality
    from engine_probe.perplexity.text import read_text

    read_text(Quality(str(sandbox / "in" / "text.txt"), window=16))


def go_on_with_a_suite(sandbox: Path) -> None:
    from engine_probe.sweep.suite.suite_run import SuiteRun

    SuiteRun.resumed(sandbox / "in" / "suite")


def questions_of_a_set(sandbox: Path) -> None:
    from engine_probe.workload.question_set.question_file import read_question_sets

    assert read_question_sets([str(sandbox / "in" / "questions.jsonl")])


def plan_of(kind: str, form: str, name: str) -> Call:
    """Make every request of a file, with a tokenizer that counts letters."""

    def plan(sandbox: Path) -> None:
        from engine_probe.workload.arrivals import Burst, Replay
        from engine_probe.workload.request_plan import check_fits, make_plan
        from engine_probe.workload.workload_spec import Workload

        prompts = msgspec.convert({"kind": kind, "format": form, "path": str(sandbox / "in" / name)}, Any)
        arrivals = Replay() if kind == "trace" else Burst()
        workload = msgspec.convert({"prompts": prompts, "arrivals": msgspec.to_builtins(arrivals)}, Workload)
        made = make_plan(workload, encode=lambda text: [len(word) for word in text.split()])
        check_fits(made, 10_000)
        assert made.sha256

    plan.__name__ = f"requests of {form}"
    return plan


@dataclass(frozen=True)
class Target:
    """A file, how it is mutated and what reads it."""

    name: str
    file: str  # in the sandbox's folder `in`
    mutations: tuple[mutations.Mutation, ...]
    commands: tuple[Call, ...]


def dry_run(name: str) -> Call:
    return ("sweep", "{in}/" + name + ".toml", "--dry-run", "--like", "{in}")


def targets() -> list[Target]:
    return [*of_runs(), *of_sweeps(), *of_suites(), *of_what_is_given(), *of_workloads()]


def of_runs() -> Iterator[Target]:
    runs = (*RUN_COMMANDS, run_in_a_notebook)
    cut = tuple(
        tuple(word.replace("/run", "/cut") for word in call) for call in RUN_COMMANDS if isinstance(call, tuple)
    )
    yield Target("run.json", "run/run.json", mutations.JSON, runs)
    for name in ("iterations", "requests", "preemptions", "telemetry"):
        yield Target(f"table {name}", f"run/{name}.arrow", mutations.TABLE, runs)
        yield Target(f"stream {name}", f"cut/{name}.arrows", mutations.STREAM, cut)
    yield Target("stream workers", "run/workers-0.arrows", mutations.STREAM, runs)
    judged, answered = (JUDGED_REPORT,), (ANSWERED_REPORT,)
    yield Target("table answers, of questions", "judged/points/p4/answers.arrow", mutations.TABLE, judged)
    yield Target("table answers, with tokens", "answered/points/p1/answers.arrow", mutations.TABLE, answered)
    yield Target("a run's questions", "judged/points/p4/questions.jsonl", mutations.JSON_LINES, judged)
    yield Target("run.json of a prediction", "predicted/run.json", mutations.JSON, (PREDICTED_REPORT,))


def of_sweeps() -> Iterator[Target]:
    sweeps: tuple[Call, ...] = (
        SWEEP_REPORT,
        ("compare", "{in}/sweep", "{in}/sweep2"),
        ("sweep", "{in}/sweep", "--dry-run"),
        ("sweep", "{in}/sweep.toml", "--dry-run", "--like", "{in}/sweep"),
        table_of_a_sweep,
        go_on,
    )
    yield Target("sweep.json", "sweep/sweep.json", mutations.JSON, sweeps)
    yield Target("sweep.json of one of several", "sweep2/sweep.json", mutations.JSON, (EXPERIMENT_REPORT,))
    yield Target("a point's run.json", "sweep/points/p2/run.json", mutations.JSON, sweeps)
    yield Target("answers.json", "sweep/points/p4/answers.json", mutations.JSON, (SWEEP_REPORT,))
    yield Target("driven.json", "sweep/points/off/driven.json", mutations.JSON, (SWEEP_REPORT, table_of_a_sweep))
    yield Target("sweep file", "sweep.toml", mutations.TOML, (dry_run("sweep"),))
    yield Target("sweep file, a search", "search.toml", mutations.TOML, (dry_run("search"),))
    yield Target("sweep file, a text", "words.toml", mutations.TOML, (dry_run("words"),))


def of_suites() -> Iterator[Target]:
    yield Target("suite.json", "suite/suite.json", mutations.JSON, (SUITE_REPORT, go_on_with_a_suite))
    yield Target("suite file", "suite.toml", mutations.TOML, (("suite", "{in}/suite.toml", "--dry-run"),))


def of_what_is_given() -> Iterator[Target]:
    """Yield what the user or another command hands to a command beside recordings."""
    own = ("sweep", "{in}/own.toml", "--dry-run", "--like", "{in}", "--set", "engine.model={in}/model")
    text = (("report", "{in}/text"), ("compare", "{in}/text", "{in}/text2", "--html", "{out}/page.html"))
    checked = (("report", "{in}/validate.json", "--html", "{out}/page.html"), baseline)
    money = tuple(("report", "{in}/" + what, "--money", "{in}/prices.toml") for what in ("run", "sweep"))
    published = ((*SWEEP_REPORT, "--reference", "{in}/published.toml"),)
    ceilings = f"home/ceilings/{cpu().identity}/a.json"
    yield Target("a model's config.json", "model/config.json", mutations.JSON, (own,))
    yield Target("ceilings", ceilings, mutations.JSON, (dry_run("sweep"),))
    yield Target("perplexity.json", "text/perplexity.json", mutations.JSON, text)
    yield Target("text", "text.txt", mutations.BYTES, (text_to_predict,))
    yield Target("price list", "prices.toml", mutations.TOML, money)
    yield Target("published figures", "published.toml", mutations.TOML, published)
    yield Target("validate's report", "validate.json", mutations.JSON, checked)
    for kind, form in (("csv", mutations.CSV), ("json", mutations.JSON)):
        scores = ("report", "{in}/sweep", "--score", "{in}/scores." + kind)
        yield Target(f"scores, {kind.upper()}", f"scores.{kind}", form, (scores,))


def of_workloads() -> Iterator[Target]:
    yield Target("question set", "questions.jsonl", mutations.JSON_LINES, (questions_of_a_set,))
    for name, file, form, kind in (
        ("trace, mooncake", "trace.jsonl", mutations.JSON_LINES, "trace"),
        ("trace, burstgpt", "trace.csv", mutations.CSV, "trace"),
        ("data set, jsonl", "set.jsonl", mutations.JSON_LINES, "dataset"),
        ("data set, ShareGPT", "share.json", mutations.JSON, "dataset"),
        ("data set, Alpaca", "alpaca.json", mutations.JSON, "dataset"),
    ):
        yield Target(name, file, form, (plan_of(kind, name.partition(", ")[2].lower(), file),))


# ---- the whole files ------------------------------------------------------------------------------------


def ceiling(value: float) -> dict[str, Any]:
    about = {"stable": True, "quick": False, "measured": "2026-01-01T00:00:00+00:00", "detail": {}}
    return {"value": value, "unit": "B/s", **about}


def engine() -> dict[str, Any]:
    """What `run.json` says, with everything that reports look into."""
    known = {"memory read": ceiling(1e11), "gemm bf16 square": ceiling(1e12) | {"unit": "FLOP/s"}}
    host = {"name": "processor", "cores": 2, "memory_bytes": 2**34}
    gpu = {"name": "NVIDIA L4", "uuid": "GPU-1", "memory_bytes": 2**34}
    workload = {"input_len": 48, "output_len": 40, "concurrency": 4}
    hardware = {"host": host, "gpus": [gpu], "ceilings": {"cpu-1": known, "GPU-1": known}}
    outcome = {"started_ns": 1, "ended_ns": 10**9, "why": "answered", "steady": None}
    told = {"hardware": hardware, "workload": workload, "outcome": outcome, "unread": []}
    return facts() | told | {"memory": [memory()], "loaded": [loaded()], "telemetry": sampled()}


def memory() -> dict[str, Any]:
    gib = 2**30
    parts = {"total": 16, "weights": 2, "kv_pool": 4, "activations": 1, "graphs": 0, "other": 1, "free": 8}
    held = {"reserved": 14, "used": 8, "nvml_used": 8, "rss": 3}
    sizes: dict[str, Any] = {f"{name}_bytes": size * gib for name, size in (parts | held).items()}
    return {"rank": 0, "device": "cpu", "name": "processor", **sizes, "sources": {"total": "torch"}, "missing": {}}


def loaded() -> dict[str, Any]:
    """One layer of each kind of weights, experts and a window among them."""
    part = {"parameters": 1000, "bytes": 2000, "products": 1000}
    return {
        "rank": 0,
        "parameters": 5000,
        "bytes": 10_000,
        "tied_head": False,
        "row_bytes": 64,
        "unknown": [],
        "parts": dict.fromkeys(("linear", "experts", "head", "embedding", "other"), part),
        "beside_text": part | {"parameters": 0},
        "experts": [{"held": 4, "all": 4, "per_token": 2, "parameters": 250, "bytes": 500}],
        "attention": [{"layers": 2, "heads": 4, "kv_heads": 2, "head_size": 32, "window": 16, "kv_value_bytes": 2}],
        "dtypes": {"bfloat16": 10_000},
    }


def sampled() -> dict[str, Any]:
    device = {"device": 0, "name": "NVIDIA L4", "uuid": "GPU-1", "mig_instance": False}
    counts = {"period_seconds": 0.05, "samples": 10, "missed_samples": 0, "cpu_ns": 1000}
    return {**counts, "devices": [device], "notes": ["a note"], "failure": None}


def telemetry(steps: int) -> Any:
    rows = [
        {"time_ns": number * 50_000_000, "device": device, "power_mw": 70_000, "energy_mj": number, "temperature_c": 50}
        for number in range(steps)
        for device in (None, 0)
    ]
    return table("telemetry", rows)


def make(folder: Path) -> None:
    """Write every file into `folder`."""
    tables = ran(6) | {"telemetry": telemetry(10)}
    tables["workers"] = table("workers", [{"iteration": step, "start_ns": step, "execute_ns": 5} for step in range(20)])
    for name in ("run", "other"):
        write_run(folder / name, tables, engine())
    make_cut(folder / "cut", tables)
    for name in ("sweep", "sweep2"):
        make_sweep(folder / name)
    make_answers(folder)
    make_prediction(folder / "predicted")
    make_suite(folder)
    make_texts(folder)
    make_workloads(folder)
    report = box(2)
    (folder / "validate.json").write_bytes(msgspec.json.encode(report))
    assert msgspec.json.decode(msgspec.json.encode(report), type=Report) == report
    (folder / "scores.csv").write_text(
        "point,request_id,rouge,exact\n" + "".join(f"p{n},r0,0.{n},1\n" for n in (1, 2, 4))
    )
    (folder / "scores.json").write_text(json.dumps({"p1": {"r0": 0.5}, "p2": {"r0": 0.25, "r1": 1}, "p4": 0.75}))
    place = folder / "home" / "ceilings" / cpu().identity
    place.mkdir(parents=True)
    kept = {"schema": "kernels_bench.ceilings/1", "identity": cpu().identity, "device": "processor", "versions": {}}
    (place / "a.json").write_text(json.dumps(kept | {"ceilings": {"memory read": ceiling(1e11)}}))


def make_cut(folder: Path, tables: dict[str, Any]) -> None:
    """A recording whose process is gone, in streams of three batches."""
    write_run(folder, {}, engine())
    document = json.loads((folder / "run.json").read_text())
    for name in ("tables", "workers", "close", "failure"):
        document.pop(name)
    document |= {"status": "recording", "process": document["process"] | {"started": -1}}
    (folder / "run.json").write_text(json.dumps(document))
    for name in ("iterations", "requests", "preemptions", "telemetry"):
        (folder / f"{name}.arrow").unlink()
        rows = tables[name].combine_chunks()
        write_stream(folder / f"{name}.arrows", rows)


def write_stream(path: Path, rows: Any) -> None:
    import pyarrow as pa

    from engine_probe.record.arrow_files import CHECKSUM_KEY, batch_checksum

    with pa.ipc.new_stream(path, rows.schema) as sink:
        for batch in rows.to_batches(max_chunksize=max(1, math.ceil(rows.num_rows / 3))):
            sink.write_batch(batch, custom_metadata={CHECKSUM_KEY: batch_checksum(batch)})


def make_sweep(folder: Path) -> None:
    write_sweep(folder, (1, 2, 4))
    document = json.loads((folder / "sweep.json").read_text())
    asked = document["points"][-1]["point"] | {"probe": False}
    document["points"].append({"id": "off", "point": asked, "status": "complete", "reason": "ran without the probe"})
    document["sweep"] = {
        "question": "Where is the knee?",
        "engine": {"model": "tiny", "arguments": {"block_size": 16}},
        "workload": {"input_len": 48, "output_len": 40},
        "axes": {"workload.concurrency": [1, 2, 4]},
    }
    (folder / "sweep.json").write_text(json.dumps(document))
    (folder / "points" / "off").mkdir()
    (folder / "points" / "off" / "driven.json").write_text(json.dumps({"started_ns": 1, "ended_ns": 10**9}))
    for level in (1, 2, 4):
        answers = {f"r{number}": number for number in range(level)}
        (folder / "points" / f"p{level}" / "answers.json").write_text(json.dumps(answers))


def make_suite(folder: Path) -> None:
    """Two sweeps as one experiment, and one that could not be measured."""
    for name in ("one", "two"):
        write_sweep(folder / "suite" / name, (1, 2, 4), name=name)
    row = {"section": 0, "sweep": "smoke", "settings": [], "status": "complete"}
    sweeps = [row | {"name": name, "folder": name} for name in ("one", "two")]
    sweeps.append(row | {"name": "three", "folder": "three", "status": "failed", "exit_code": 3, "reason": "no GPU"})
    sections = [{"title": "1. Both", "together": True, "reference": None}]
    state = {"title": "A paper", "source": "A page", "sections": sections, "sweeps": sweeps}
    (folder / "suite" / "suite.json").write_text(json.dumps(state))
    (folder / "suite.toml").write_text(
        'title = "A paper"\n[[sections]]\ntitle = "1. Both"\ntogether = true\n'
        'sweeps = ["smoke", { sweep = "saturation", set = { "workload.output_len" = 8 } }]\n'
    )


def make_prediction(folder: Path) -> None:
    """Write a recording that a twin predicted."""
    document = json.loads((write_run(folder, ran(8), facts()) / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(document | {"predicted": PREDICTED}))


def make_answers(folder: Path) -> None:
    """Sweeps whose answers are judged by questions, and compared token by token."""
    write_judged_sweep(folder / "judged", {1: {}, 4: {}})
    write_answered_sweep(folder / "answered", [Answered(1), Answered(8, normal(0.05))])
    (folder / "questions.jsonl").write_bytes((folder / "judged/points/p4/questions.jsonl").read_bytes())


def make_texts(folder: Path) -> None:
    precision = {"dtype": "bfloat16", "quantization": None, "kv_cache_dtype": "auto", "checkpoint": {}}
    asked = {"text": "text.txt", "window": 16}
    for name, shift in (("text", 0.0), ("text2", 0.1)):
        (folder / name).mkdir()
        measured = {
            "model": "smollm2",
            "vllm": "0.32.0",
            "precision": precision,
            "asked": asked,
            "text_sha256": "a",
            "windows_sha256": "b",
            "window_nll": [30.0 + shift, 31.0, 29.5],
            "window_tokens": [15, 15, 15],
            "not_finite_tokens": 0,
            "unused_tokens": 2,
            "bos_added": True,
            "seconds": 1.5,
        }
        (folder / name / "perplexity.json").write_text(json.dumps(measured))
    (folder / "text.txt").write_text("A text of some words, several times. " * 20)


def make_workloads(folder: Path) -> None:
    lines = [{"timestamp": 100 * n, "input_length": 20, "output_length": 5, "hash_ids": [n]} for n in range(5)]
    (folder / "trace.jsonl").write_text("\n".join(map(json.dumps, lines)))
    rows = "".join(f"{n},ChatGPT,{20 + n},{5 + n},{25 + 2 * n},log\n" for n in range(5))
    (folder / "trace.csv").write_text(f"Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n{rows}")
    (folder / "set.jsonl").write_text("\n".join(json.dumps({"prompt": "a b", "output_tokens": 3}) for _ in range(4)))
    said = [{"from": "human", "value": "one two"}, {"from": "gpt", "value": "three"}]
    (folder / "share.json").write_text(json.dumps([{"id": "x", "conversations": said}] * 3))
    alpaca = {"instruction": "Add", "input": "1 2", "output": "3"}
    (folder / "alpaca.json").write_text(json.dumps([alpaca] * 3))
    (folder / "sweep.toml").write_text(SWEEP)
    (folder / "search.toml").write_text(SEARCH)
    (folder / "words.toml").write_text(WORDS)
    (folder / "own.toml").write_text(SWEEP)
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text(json.dumps(CONFIG))
    (folder / "prices.toml").write_text(PRICES)
    (folder / "published.toml").write_text(PUBLISHED)


SWEEP = """\
question = "Where is the knee?"
repeats = 2
interleave = false
point_seconds = 60.0
[engine]
model = "tiny"
[engine.arguments]
block_size = 16
num_gpu_blocks_override = 600
max_model_len = 512
gpu_memory_utilization = 0.5
[workload]
input_len = 48
output_len = { kind = "uniform", low = 8, high = 40 }
num_prompts = 64
seed = 3
arrivals = { kind = "ramp", start_rate = 1.0, end_rate = 20.0, burstiness = 0.5 }
[axes]
workload.concurrency = [1, 2, 4]
engine.arguments.max_num_seqs = { from = 8, to = 32, factor = 2 }
[stop]
requests = 32
[warm_up]
requests = 2
"""
SEARCH = """\
question = "Which load keeps the limits?"
repeats = 2
[engine]
model = "tiny"
[engine.arguments]
max_model_len = 512
[workload]
num_prompts = 200
prompts = { kind = "conversations", turns = 3, input_len = 20, system_len = 8, pause_seconds = 0.5 }
output_len = 8
[workload.arrivals]
kind = "closed_loop"
users = 4
think_seconds = 1.0
think = "exponential"
[adaptive]
axis = "workload.arrivals.users"
from = 1
to = 64
goal = "slo"
slo = { ttft_ms = 100.0, percentile = 90.0 }
resolution = 0.1
[stop]
steady = { within = 0.05 }
"""
WORDS = """\
question = "What does a lower precision cost?"
exclude = [{ "workload.concurrency" = 2, "engine.arguments.dtype" = "float32" }]
include = [{ "workload.concurrency" = 8, "engine.arguments.dtype" = "float32" }]
[engine]
model = "smollm2"
[workload]
num_prompts = 64
prompts = { kind = "shared_prefix", prefix_len = 64, input_len = 16, num_prefixes = 2, share = 0.5 }
output_len = { kind = "lognormal", median = 20.0, sigma = 0.5, high = 40 }
[axes]
"engine.arguments.dtype" = ["bfloat16", "float32"]
"workload.concurrency" = [1, 2, 4]
[quality]
text = "text.txt"
window = 64
overlap = 8
lines = "joined"
[stop.saturated]
axis = "workload.concurrency"
"""
CONFIG = {
    "model_type": "llama",
    "hidden_size": 64,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": 256,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "max_position_embeddings": 1024,
    "torch_dtype": "bfloat16",
}
PRICES = """\
currency = "EUR"
source = "an offer"
hours_per_month = 730.5
[sold]
per_million_output_tokens = 2.5
[[fixed]]
name = "server"
price = 20000
years = 4
residual = 2000
per_card = false
[[fixed]]
name = "room"
per_month = 100
share = 0.5
[[variable]]
name = "licence"
per_million_output_tokens = 0.1
[[variable]]
name = "egress"
per_gib = 0.09
bytes_per_output_token = 250
[[burst]]
name = "staff"
above_concurrency = 2
each = 4
per_hour = 3.0
[power]
per_kwh = 0.3
overhead = 1.4
host_watts = 200
[users]
request_every_s = 40
[[options]]
name = "rented"
per_hour = 1.5
recording = "sweep2"
[[options]]
name = "bought"
price = [20000, 30000]
years = 4
watts = 700
requests_per_minute = [30, 60]
latency_s = [2, 3.5]
claimed_cost_ratio = 0.5
source = "told"
doubt = "by whom?"
[[upgrade]]
to = "bought"
above_requests_per_minute = 20
"""
PUBLISHED = """\
title = "A table"
source = "somewhere, page 3"
doubt = "one run"
load_in = "concurrent requests"
[setting]
gpu = "L4"
input_len = 48
[[figures]]
model = "tiny"
what = "output_tokens_per_s"
value = 500.0
at = 2
[[figures]]
model = "tiny"
what = "saturation_point"
value = 3.5
doubt = "read off a chart"
[[precisions]]
name = "fp8"
perplexity = 7.5
throughput = 1.4
memory = 0.5
"""
