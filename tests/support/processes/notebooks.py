"""Notebooks executed from the first cell to the last, and the recordings that they open.

`make notebooks` runs all of them on what `make recordings` makes.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner

from engine_probe.cli import cli
from tests.support.processes.command import ENGINE_SECONDS
from tests.support.recordings.run_folders import facts, ran, write_points, write_run, write_sweep
from tests.support.recordings.small_tables import table

NOTEBOOKS = Path(__file__).parents[3] / "notebooks"
MOST_SECONDS = 120  # of CPU, for all notebooks of a kernel: beside other work the clock tells nothing


# Before each notebook: nothing of the one before is left but its imports, and it finds the variables of its own test.
FRESH = """
__import__("os").environ.update(VARIABLES)
%reset -f
"""

Execute = Callable[[str], list[Any]]


@contextmanager
def shared_kernel() -> Iterator[Execute]:
    """Start a kernel that executes notebooks by their names, and takes less than MOST_SECONDS for all of them."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    client = nbclient.NotebookClient(
        nbformat.v4.new_notebook(), timeout=ENGINE_SECONDS, resources={"metadata": {"path": str(NOTEBOOKS)}}
    )

    def execute(name: str) -> list[Any]:
        """Return the outputs of a notebook without an error and without a warning."""
        client.nb = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
        variables = {key: value for key, value in os.environ.items() if key.startswith("ENGINE_PROBE_")}
        client.nb.cells.insert(0, nbformat.v4.new_code_cell(FRESH.replace("VARIABLES", repr(variables))))
        client.execute(cleanup_kc=False)
        outputs = [output for cell in client.nb.cells for output in cell.get("outputs", [])]
        assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
        return outputs

    before = kernels_seconds()
    with client.setup_kernel(cwd=str(NOTEBOOKS)):
        yield execute
    assert kernels_seconds() - before < MOST_SECONDS


def executed(name: str) -> list[Any]:
    """Return the outputs of a notebook that has a kernel of its own."""
    with shared_kernel() as execute:
        return execute(name)


def kernels_seconds() -> float:
    """Return the CPU time of all processes that this one started and that ended, as a notebook's kernel does."""
    times = os.times()
    return times.children_user + times.children_system


def pictures(outputs: list[Any]) -> int:
    return sum("image/png" in output.get("data", {}) for output in outputs)


def said(outputs: list[Any]) -> str:
    return " ".join(output.get("text", "") + output.get("data", {}).get("text/html", "") for output in outputs)


def write_pools(path: Path, sizes: tuple[int, ...], requests: int = 12) -> Path:
    """Write a sweep over the KV pool's size: the same requests, one after the other, preempted where it is small."""
    points = []
    for blocks in sizes:
        tables = ran(requests, blocks=blocks)
        write_run(path / "points" / f"b{blocks}", tables | {"requests": arriving(tables["requests"])}, facts(blocks))
        asked = {
            "workload": {"concurrency": requests, "input_len": 48, "output_len": 40},
            "engine": {"model": "tiny", "arguments": {"num_gpu_blocks_override": blocks}},
        }
        points.append({"id": f"b{blocks}", "point": asked, "status": "complete"})
    return write_points(path, points, "How many blocks?")


def arriving(requests: pa.Table) -> pa.Table:
    """Return simulated requests, which all arrive at zero, some nanoseconds apart in the order of their numbers."""
    rows = requests.to_pylist()
    for row in rows:
        row["arrival_ns"] = row["queued_ns"] = int(row["request_id"].removeprefix("r"))
        row["first_scheduled_ns"] = max(row["first_scheduled_ns"], row["queued_ns"])
    return pa.Table.from_pylist(rows, requests.schema)


def write_ranks(path: Path, levels: tuple[int, ...]) -> Path:
    """Write a sweep of one rank and two over the load: with two, a forward takes half the time."""
    points = []
    for ranks in (1, 2):
        for level in levels:
            name = f"t{ranks}-{level}"
            write_run(path / "points" / name, with_ranks(ran(level), ranks))
            arguments = {"tensor_parallel_size": ranks}
            asked = {"workload": {"concurrency": level}, "engine": {"model": "tiny", "arguments": arguments}}
            points.append({"id": name, "point": asked, "status": "complete"})
    return write_points(path, points, "One rank or two?")


def with_ranks(tables: dict[str, pa.Table], ranks: int) -> dict[str, pa.Table]:
    """Return simulated tables with the steps of ranks, each of which begins its forward a microsecond later."""
    rows = []
    for step in tables["iterations"].to_pylist():
        begin, model = step["start_ns"] + step["schedule_ns"], step["execute_ns"]
        forward = (model - 100_000) // ranks
        for rank in range(ranks):
            moments = {"start_ns": begin, "forward_start_ns": begin + 10_000 + 1_000 * rank, "forward_ns": forward}
            moments |= {"execute_ns": forward + 50_000, "sample_start_ns": begin + forward + 50_000}
            moments |= {"sample_ns": 20_000, "bookkeep_ns": 5_000, "scheduled_tokens": step["scheduled_tokens"]}
            rows.append({"iteration": step["iteration"], "rank": rank} | moments)
    return tables | {"workers": table("workers", rows)}


def write_elsewhere(path: Path) -> Path:
    """Write what `make runs/elsewhere` makes: plans, a sweep that a twin predicted, and a what-if."""
    path.mkdir()
    published = ("gpt2-xl", "deepseek-llm-7b-chat", "qwen1.5-14b-chat", "falcon-40b")
    theirs = ("--dtype", "float16", "--max-num-batched-tokens", "8192", "--max-num-seqs", "1024")
    for model in published:
        plan("--model", model, "--device", "H100 NVL", *theirs, "--json", str(path / f"{model}.json"))
    slo = ("--slo", "ttft:500", "tpot:30", "--requests-per-second", "20")
    cards = ("--devices", "L4,L40S,H100,H200", "--max-model-len", "8192")
    plan("--model", "llama-3.1-8b", *cards, *slo, "--json", str(path / "plan.json"))
    write_sweep(path / "twin", (1, 4, 8, 12))
    noise, scatter = ({"deviation": deviation, "freedom": 4} for deviation in (0.03, 0.1))
    times = {"error": 0.03, "recordings": 4, "noise": noise, "errors": {"TTFT p50": scatter}}
    for run in (path / "twin" / "points").iterdir():
        known = json.loads((run / "run.json").read_text())
        (run / "run.json").write_text(json.dumps(known | {"predicted": {"calibrated_from": "x", "step_times": times}}))
    figures = {"ttft_p90_ms": 80.0, "preemptions": 12}
    changed = {f"num_gpu_blocks_override={blocks}": figures for blocks in (49, 145)}
    decided = {"steps": 200, "recorded": 400, "predicted": 410}
    found = {"recorded": figures, "unchanged": figures, "changed": changed, "same_decisions": decided}
    (path / "what_if.json").write_text(json.dumps(found))
    return path


def plan(*words: str) -> None:
    done = CliRunner().invoke(cli, ["plan", *words])
    assert done.exit_code == 0, done.output


def main() -> None:
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        begun, before = time.monotonic(), kernels_seconds()
        shown = pictures(executed(path.stem))
        wall, cpu = time.monotonic() - begun, kernels_seconds() - before
        print(f"{path.name}: {shown} pictures in {wall:.0f} s, {cpu:.0f} s of CPU", flush=True)


if __name__ == "__main__":
    main()
