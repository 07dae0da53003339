"""The point that asks for a recorded run's requests again, on an engine with the recorded settings."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from engine_probe.commands.sweep.twin import NAMES, PRICED, limits, recorded_argument
from engine_probe.engine.models.catalogue import catalogue_folder, catalogue_names
from engine_probe.engine.models.embedded import EMBEDDED, place_of
from engine_probe.errors import InputError
from engine_probe.files.new_file import fresh_file
from engine_probe.recordings.run import Run
from engine_probe.sweep.definition.sweep_file import EngineSection, StopSection, SweepFile
from engine_probe.sweep.definition.workload_section import WorkloadSection
from engine_probe.workload.arrivals import Replay
from engine_probe.workload.stop import Stop
from engine_probe.workload.traces.trace_file import Trace
from engine_probe.workload.workload_spec import prompt_files

TRACE = "requests.jsonl"
OF_DRAFTS = ("method", "num_speculative_tokens", "prompt_lookup_max", "prompt_lookup_min")
DERIVED = ("sha256", "notes")  # keys of a recorded workload that describe the requests made from it


def recorded_sweep(run: Run, place: Path) -> tuple[SweepFile, list[str]]:
    """Return a sweep of one point, and what of the requests is not known.

    A workload of this package makes the same requests again, byte for byte, and they arrive by the same rule. Of any
    other run the lengths and times of its requests are written to `place`, as a trace that is replayed.
    """
    question = f"What would {run.folder.name} have been?"
    engine = EngineSection(*engine_of(run.facts), environment=run.facts["engine"].get("environment", {}))
    work = workload_of(run.facts)
    if work is not None:
        stop = msgspec.convert(run.facts.get("stop") or {}, Stop)
        kept = StopSection(seconds=stop.seconds, requests=stop.requests, steady=stop.steady)
        return SweepFile(question, engine, work, stop=kept), []
    path = place / TRACE
    with fresh_file(path) as file:
        for line in trace_lines(run):
            file.write(json.dumps(line).encode() + b"\n")
    trace = WorkloadSection(prompts=Trace(str(path.absolute()), "mooncake"), arrivals=Replay())
    return SweepFile(question, engine, trace), list(not_known(run))


def engine_of(facts: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the model and the arguments by which another engine has the recorded one's scheduler, pool and times."""
    priced = {
        NAMES.get(name, name): recorded_argument(facts, section, name)
        for section, names in PRICED.items()
        for name in names
    }
    arguments = {**priced, "dtype": facts["model"]["dtype"], **limits(facts)}
    drafting = {name: recorded_argument(facts, "speculative_config", name) for name in OF_DRAFTS}
    if drafting["method"] is not None:
        arguments["speculative_config"] = {name: value for name, value in drafting.items() if value is not None}
    return model_of(facts["model"]["name"]), {name: value for name, value in arguments.items() if value is not None}


def model_of(name: str) -> str:
    """Return the name by which this package knows a model, or else vLLM's."""
    known = {str(place_of(each)): each for each in EMBEDDED}
    known |= {str(catalogue_folder(each)): each for each in catalogue_names()}
    return known.get(name, name)


def workload_of(facts: Mapping[str, Any]) -> WorkloadSection | None:
    """Return the workload that a run was asked for. None if there is none, or its answers ended by themselves."""
    asked = facts.get("workload")
    if not isinstance(asked, dict):
        return None
    try:
        work = msgspec.convert({name: asked[name] for name in asked if name not in DERIVED}, WorkloadSection)
    except msgspec.ValidationError:
        return None
    files = map(Path, prompt_files(work.prompts))
    return work if work.sampling.ignore_eos and all(map(Path.is_file, files)) else None


def trace_lines(run: Run) -> Iterator[dict[str, Any]]:
    """Yield the requests that got an answer, by their arrival: when, how many tokens in, and how many out."""
    requests = run.requests
    arrived = pc.coalesce(requests["arrival_ns"], requests["queued_ns"], requests["first_scheduled_ns"])
    usable = pc.and_(pc.is_valid(arrived), pc.greater(requests["output_tokens"], 0))
    rows = pa.table([arrived, requests["prompt_tokens"], requests["output_tokens"]], ["at", "in", "out"])
    found = rows.filter(usable).sort_by("at").to_pylist()
    if not found:
        raise InputError(f"{run.folder} holds no request with an answer: there is nothing to replay")
    for row in found:
        since = (row["at"] - found[0]["at"]) / 1e6
        yield {"timestamp": since, "input_length": row["in"], "output_length": row["out"]}


def not_known(run: Run) -> Iterator[str]:
    """Yield what a trace of lengths and times leaves out."""
    requests = run.requests
    prompt, cached = (int(pc.sum(requests[name]).as_py() or 0) for name in ("prompt_tokens", "cached_tokens"))
    if cached:
        yield (
            f"The prefix cache had {cached / prompt:.0%} of the prompt tokens. Prompts are not recorded, so nothing is "
            "found in it here, and all of them are computed."
        )
    if len(set(requests["priority"].to_pylist())) > 1:
        yield "Requests had priorities, which are not replayed."
    unanswered = requests.num_rows - int(pc.sum(pc.greater(requests["output_tokens"], 0)).as_py() or 0)
    unanswered += (run.facts.get("close") or {}).get("requests_in_flight_at_close", 0)
    if unanswered:
        yield f"Requests without an answer are left out: {unanswered:,}."
