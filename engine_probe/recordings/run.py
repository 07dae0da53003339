"""An opened recording: tables as Arrow, facts as a dictionary, and notes about them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from engine_probe.errors import EngineProbeError, InputError
from engine_probe.notebook_view import NotebookView
from engine_probe.record import reader
from engine_probe.record.plausibility import without_lost_steps
from engine_probe.record.run_folder import COMPLETE, INCOMPLETE, QUESTIONS_FILE, RECORDING
from engine_probe.text_format import counted, model_name, plain
from engine_probe.workload.question_set.question_file import Question, read_question_sets

if TYPE_CHECKING:
    from engine_probe.analysis.money.work import GpuUse
    from engine_probe.analysis.run.slo import Slo
    from engine_probe.analysis.run.summary import Summary
    from engine_probe.analysis.run_analysis import RunAnalysis


STATUS_WORDS = {RECORDING: "still recording, so far", reader.CUT: "cut short"}


class Run(NotebookView):
    """One run folder. Tables are read at first use; `notes` names what is missing or doubtful."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.facts = reader.read_facts(folder)
        self.status = reader.run_status(self.facts)
        self.notes = list(_notes(self))

    @property
    def model_name(self) -> str:
        """Name the model, without the path that leads to it."""
        return model_name(self.facts["model"]["name"])

    @property
    def predicted(self) -> bool:
        """Return whether a twin wrote this, and no engine ran."""
        return "predicted" in self.facts

    @property
    def weights_bytes(self) -> int | None:
        """Return the size of all ranks' weights, as vLLM counts them. None if a rank has no figure."""
        ranks = [rank.get("weights_bytes") for rank in self.facts.get("memory") or []]
        return None if not ranks or None in ranks else sum(ranks)

    @property
    def parameters(self) -> int | None:
        """Return the number of the model's parameters, counted from its layers. None unless one rank holds them all."""
        ranks = self.facts.get("loaded") or []
        return int(ranks[0]["parameters"]) if len(ranks) == 1 else None

    @property
    def finished(self) -> bool:
        return self.status != RECORDING

    @cached_property
    def iterations(self) -> pa.Table:
        return reader.read_table(self.folder, "iterations", self.facts)

    @cached_property
    def requests(self) -> pa.Table:
        """Read the requests; tokens of steps that are not here (cut off, or not read yet) have no times."""
        requests, unknown = without_lost_steps(
            reader.read_table(self.folder, "requests", self.facts), self.iterations.num_rows
        )
        if unknown and self.status == COMPLETE:
            raise InputError(f"{self.folder}: requests name steps that iterations does not hold: it is damaged")
        return requests

    @cached_property
    def in_flight(self) -> pa.Table:
        """Read the requests that were in flight at the last rows, for which a cut recording has no rows."""
        return reader.read_in_flight(self.folder, self.requests, self.facts)

    @cached_property
    def preemptions(self) -> pa.Table:
        return reader.read_table(self.folder, "preemptions", self.facts)

    @cached_property
    def telemetry(self) -> pa.Table:
        return reader.read_table(self.folder, "telemetry", self.facts)

    @cached_property
    def host_events(self) -> pa.Table:
        """Read what can have held up the engine; empty if the recording is older than this table."""
        return reader.read_table(self.folder, "host_events", self.facts)

    @cached_property
    def drafts(self) -> pa.Table:
        """Read the drafts of speculative decoding; empty without it, and if the recording is older than this table."""
        return reader.read_table(self.folder, "drafts", self.facts)

    @cached_property
    def answers(self) -> pa.Table:
        """Read how each request of the workload ended, and what was kept of its answer.

        Empty if another program sent the requests, and if the recording is older than this table.
        """
        return reader.read_table(self.folder, "answers", self.facts)

    @cached_property
    def questions(self) -> dict[str, tuple[Question, int]]:
        """Read the questions that were asked, and which turn of theirs, by the id that `answers` has.

        Empty if the prompts were no question set.
        """
        path = self.folder / QUESTIONS_FILE
        found = read_question_sets([str(path)]) if path.is_file() else []
        return {question.turn_id(turn): (question, turn) for question in found for turn in range(len(question.asked))}

    @property
    def has_host_events(self) -> bool:
        """Tell a recording without any such event from one that is older than the table."""
        return reader.has_table(self.folder, "host_events", self.facts)

    @cached_property
    def workers(self) -> pa.Table:
        """Read every rank's steps, in the order of iterations."""
        return reader.read_table(self.folder, "workers", self.facts)

    @cached_property
    def operators(self) -> pa.Table:
        """Read where the time of the steps in the window of operators went; empty without a window."""
        return reader.read_table(self.folder, "operators", self.facts)

    @cached_property
    def operator_slices(self) -> pa.Table:
        """Read the operators and kernels in that window one by one."""
        return reader.read_table(self.folder, "operator_slices", self.facts)

    @cached_property
    def collectives(self) -> pa.Table:
        """Read how long each collective took each rank; empty but for tensor parallelism on a CPU."""
        return reader.read_table(self.folder, "collectives", self.facts)

    @property
    def profiled_span(self) -> tuple[int, int] | None:
        """Return when torch's profiler ran, which no latency counts. None without a window of operators."""
        from engine_probe.analysis.step.operators import profiled_span

        return profiled_span(self.facts, self.iterations)

    @property
    def measured_requests(self) -> pa.Table:
        """Return the requests, without those that only held the load to the end."""
        from engine_probe.analysis.run.latencies import without_further

        return without_further(self.facts, self.requests)

    @cached_property
    def gpus(self) -> GpuUse:
        """Return the engine's GPUs and their energy."""
        from engine_probe.analysis.money.work import gpu_use

        return gpu_use(self.facts, self.iterations, lambda: self.telemetry)

    def summary(self, slo: Slo | None = None) -> Summary:
        """Summarise the run; with an SLO also its goodput."""
        from engine_probe.analysis.run.summary import judged

        tables = (self.facts, self.iterations, self.requests, self.answers)
        return self._summary if slo is None else judged(self._summary, slo, *tables)

    @cached_property
    def _summary(self) -> Summary:
        from engine_probe.analysis.run.summary import summarise
        from engine_probe.analysis.run.token_times import update_end_ns

        if not self.iterations.num_rows:
            raise InputError(f"{self.folder} holds no iteration: nothing ran while it was recorded")
        if update_end_ns(self.iterations)[-1] == self.iterations["start_ns"][0].as_py():
            raise InputError(f"{self.folder} holds steps that took no time: the recording is damaged")
        tables = (self.iterations, self.requests, self.answers)
        return summarise(self.facts, self.status, self.notes, *tables, self.gpus)

    def analysis(self, slo: Slo | None = None) -> RunAnalysis:
        """Compute all figures that a report shows: summary, bottleneck, losses and roofline."""
        from engine_probe.analysis.run_analysis import analyse

        tables = (self.iterations, self.requests, self.preemptions, self.workers, self.host_events, self.operators)
        return analyse(self.summary(slo), self.facts, *tables, self.drafts, self.collectives, self.operator_slices)

    @cached_property
    def stalls(self) -> pa.Table:
        """Find the steps that took far longer than steps like them, each with its cause or "unknown"."""
        return self.analysis().stalls.table

    def __repr__(self) -> str:
        """Describe the run in one line; a damaged table is named and not raised."""
        return plain(f"<Run {self.folder}: {self._in_short()}>")

    def _in_short(self) -> str:
        from engine_probe.analysis.run.token_times import update_end_ns

        status = STATUS_WORDS.get(self.status, self.status) + (", predicted" if self.predicted else "")
        try:
            steps, requests = self.iterations, self.requests.num_rows
        except EngineProbeError as error:
            return f"{status}, but {error}"
        if not steps.num_rows:
            return f"{status}, no step"
        seconds = (int(update_end_ns(steps)[-1]) - steps["start_ns"][0].as_py()) / 1e9
        counts = seconds > 0 and self.profiled_span is None  # the summary leaves out what the profiler slowed down
        rate = f", {steps['output_tokens'].to_numpy().sum() / seconds:,.1f} output tokens/s" if counts else ""
        return f"{status}, {steps.num_rows:,} steps, {requests:,} request{'s' * (requests != 1)}{rate}"


def load(path: str | os.PathLike[str]) -> Run:
    """Open the run folder at `path`, or the only run directly below it; a URI (`s3://` …) is copied to the cache."""
    if isinstance(path, str) and "://" in path:
        from engine_probe.recordings.remote_folder import local_copy

        path = local_copy(path)
    return Run(reader.find_run(Path(path)))


def _notes(run: Run) -> Iterator[str]:
    """Yield what is missing or doubtful."""
    yield from _status_notes(run)
    facts: dict[str, Any] = run.facts
    close = facts.get("close", {})
    if exception := close.get("left_by_exception"):
        yield f"the `with` block was left by an exception ({exception})"
    if reason := close.get("counters_not_audited"):
        yield f"the counters were not compared with the scheduler at the end ({reason})"
    steps = facts.get("tables", {}).get("iterations", {}).get("rows", 0)
    silent = [str(rank["rank"]) for rank in facts.get("workers", {}).get("ranks", ()) if not rank["rows"]]
    if steps and silent:
        ranks = f"rank{'s' * (len(silent) > 1)} {', '.join(silent)}"
        yield f"{ranks} recorded none of {counted(steps, 'step')}: no figure of phases, stalls or waiting is theirs"
    if turns := close.get("turns_of_streaming_sessions", 0):
        yield (
            f"{turns:,} turns of streaming sessions were followed by another: each session is one request, with the "
            "output of its last turn and without token times, because vLLM forgets the turns before"
        )
    if failed := close.get("failed_kv_loads", 0):
        yield f"a KV connector failed to load tokens of {counted(failed, 'running request')}"
    if failure := facts.get("telemetry", {}).get("failure"):
        yield f"telemetry ends early ({failure.strip().splitlines()[-1]})"
    if run.status in (COMPLETE, INCOMPLETE):
        parts = [
            f"{count:,} of {name} kept only in part" for name, count in close.get("values_kept_in_part", {}).items()
        ]
        parts += [f"{count:,} rows of {name} left out" for name, count in close.get("rows_left_out", {}).items()]
        if parts:
            yield f"values that do not fit into their columns: {', '.join(parts)}"


def _status_notes(run: Run) -> Iterator[str]:
    facts: dict[str, Any] = run.facts
    if run.status == reader.CUT:
        yield (
            f"recovered: process {facts['process']['pid']} ended without closing this run; every row written "
            "before that is here; requests in flight at that time have no row (Run.in_flight lists them)"
        )
    if run.status == INCOMPLETE:
        reason = (facts["failure"].strip() or "no reason kept").splitlines()[-1]
        yield f"incomplete: the probe stopped before the end ({reason})"
    if run.status == RECORDING:
        yield "still being recorded: these are the rows on disk so far"
