"""How fast the twin is, what part of its time is vLLM's own scheduler, and how much memory many requests take.

Usage: `python -m tools.twin_speed --write docs/results/twin_speed.md`, in the root of the repository.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

from engine_probe.commands.sweep.twin import on_device
from engine_probe.sweep.definition.sweep_file import Point, SweepFile, points
from tools.twin_accuracy import head_commit

TWINS = (("llama-3.1-8b", "L4"), ("llama-3.1-8b", "L40S"), ("llama-3.1-8b", "H100"))
USERS = (16, 64, 256)
REQUESTS_OF_EACH = 4  # of each user
LENGTHS: dict[str, Any] = {"256": 256, "64-448": {"kind": "uniform", "low": 64, "high": 448}}
MANY = (10_000, 30_000, 100_000)
WRITTEN = "docs/results/twin_speed.md"
EXPLAINED = """\
Processor time of the thread that runs engine, probe and driver. Other programs on the machine (see its load) lengthen
it unevenly: figures of one row compare, those of two rows hardly do. `x` is virtual time by it. vLLM alone: the same
twin with every step computed by vLLM's `schedule()` and `update_from_output()`, and the part of its time that is spent
in these two: no twin that calls them in every step is faster than that. Step times are the least of the data sheet, so
real GPUs make `x` larger."""


def sweep(model: str, gpu: str, work: dict[str, Any]) -> SweepFile:
    asked = {"question": "How fast is a twin?", "engine": {"model": model}, "workload": work}
    asked["engine"]["arguments"] = {"max_model_len": 4096}
    return on_device(msgspec.convert(asked, SweepFile), gpu)


def closed_loop(users: int, requests: int, input_len: int, output_len: Any) -> dict[str, Any]:
    arrivals = {"kind": "closed_loop", "users": users}
    return {"input_len": input_len, "output_len": output_len, "num_prompts": requests, "arrivals": arrivals}


class Timed:
    """Adds up the processor time of this thread in a method of an object."""

    def __init__(self, owner: Any, name: str) -> None:
        self.seconds, call = 0.0, getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            begun = time.thread_time_ns()
            try:
                return call(*args, **kwargs)
            finally:
                self.seconds += (time.thread_time_ns() - begun) / 1e9

        setattr(owner, name, timed)


def started(asked: SweepFile, until: ExitStack) -> tuple[Any, Callable[[Point], dict[str, Any]]]:
    """Start a twin, and return it with a function that runs a point as a sweep does, and says what it took."""
    from engine_probe.sweep.engine_process import worker
    from engine_probe.sweep.engine_process.messages import Job, Task

    llm = worker.start_engine(Job(points(asked)[0].engine), lambda message: None, until)
    folder = Path(until.enter_context(tempfile.TemporaryDirectory()))

    def run(point: Point) -> dict[str, Any]:
        plan = worker.plan_for(llm, point.workload.description())
        worker.empty_prefix_cache(llm)
        name = str(len(list(folder.iterdir())))
        began, cpu = time.monotonic(), time.thread_time()  # the first reads the virtual clock
        worker.run_probed(llm, Task(point, str(folder / name), name), plan, None, False, lambda message: None)
        facts = json.loads((folder / name / "run.json").read_text())
        return {
            "seconds": time.thread_time() - cpu,
            "virtual": time.monotonic() - began,
            "steps": facts["outcome"]["steps"],
            "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }

    return llm, run


def speeds(model: str, gpu: str) -> list[dict[str, Any]]:
    """Time one twin at every level: as it is, and with every step computed by vLLM's scheduler."""
    found = []
    with ExitStack() as until:
        llm, run = started(sweep(model, gpu, closed_loop(4, 8, 64, 16)), until)
        scheduler = llm.llm_engine.engine_core.engine_core.scheduler
        for users in USERS:
            for lengths, output_len in LENGTHS.items():
                (point,) = points(sweep(model, gpu, closed_loop(users, REQUESTS_OF_EACH * users, 512, output_len)))
                counting = run(point)
                scheduler.is_counting = False
                own = [Timed(scheduler, name) for name in ("schedule", "update_from_output")]
                plain = run(point)
                del scheduler.schedule, scheduler.update_from_output
                scheduler.is_counting = True
                assert plain["steps"] == counting["steps"]
                known = {"model": model, "gpu": gpu, "users": users, "lengths": lengths}
                found.append({**known, **counting, "plain": plain["seconds"], "own": sum(each.seconds for each in own)})
                print(json.dumps(found[-1]), file=sys.stderr, flush=True)
    return found


def memory(requests: int) -> list[dict[str, Any]]:
    with ExitStack() as until:
        _, run = started(asked := sweep("llama-3.1-8b", "H100", closed_loop(512, requests, 16, 8)), until)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return [{"requests": requests, "before": before, **run(points(asked)[0])}]


def in_a_process(*words: str) -> list[dict[str, Any]]:
    done = subprocess.run([sys.executable, "-m", "tools.twin_speed", *words], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(words)} failed")
    return list(json.loads(done.stdout.splitlines()[-1]))


def document(found: list[dict[str, Any]], many: list[dict[str, Any]], measured: str) -> Iterator[str]:
    yield "# How fast the twin is"
    yield ""
    numbers = " ".join(str(each["requests"]) for each in many)
    yield f"    python -m tools.twin_speed --many {numbers} --write {WRITTEN}    ({measured})"
    yield ""
    yield EXPLAINED
    yield ""
    yield "| model | GPU | users | output tokens | steps | virtual | x | us/step | alone: x | in the two | at most |"
    yield "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    for each in found:
        virtual, seconds = each["virtual"], each["seconds"]
        yield (
            f"| {each['model']} | {each['gpu']} | {each['users']} | {each['lengths']} | {each['steps']:,} "
            f"| {virtual:,.0f} s | {virtual / seconds:,.0f} | {seconds / each['steps'] * 1e6:,.0f} "
            f"| {virtual / each['plain']:,.0f} | {each['own'] / each['plain']:.0%} | {virtual / each['own']:,.0f} |"
        )
    yield ""
    yield "## Memory"
    yield ""
    yield "Peak resident memory of the engine's process; prompts of 16 tokens, answers of 8, 512 users, H100, recorded."
    yield ""
    yield "| requests | before | peak | bytes for each request | us for each request |"
    yield "|--:|--:|--:|--:|--:|"
    for each in many:
        yield (
            f"| {each['requests']:,} | {each['before'] / 2**20:,.0f} MiB | {each['memory'] / 2**20:,.0f} MiB "
            f"| {grown(each) / each['requests']:,.0f} | {each['seconds'] / each['requests'] * 1e6:,.0f} |"
        )
    if len(many) > 1:
        few, most = many[0], many[-1]
        further = (grown(most) - grown(few)) / (most["requests"] - few["requests"])
        yield ""
        yield f"Each request beyond {few['requests']:,} took {further:,.0f} bytes, with its plan."
        yield f"More than {most['requests']:,} were not run."


def grown(row: dict[str, Any]) -> int:
    return int(row["memory"] - row["before"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--write", type=Path, metavar="FILE", help="also write the tables to FILE")
    parser.add_argument("--twin", nargs=2, metavar=("MODEL", "GPU"), help="print one twin's figures as JSON")
    parser.add_argument("--requests", type=int, help="print the memory of so many requests as JSON")
    parser.add_argument("--many", type=int, nargs="*", default=MANY, help="numbers of requests for the memory")
    asked = parser.parse_args()
    if asked.twin or asked.requests:
        print(json.dumps(speeds(*asked.twin) if asked.twin else memory(asked.requests)))
        return
    began = f"commit {head_commit()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    many = [each for number in asked.many for each in in_a_process("--requests", str(number))]
    found = [each for twin in TWINS for each in in_a_process("--twin", *twin)]
    measured = f"{began} at the start and {os.getloadavg()[0]:.1f} at the end"
    text = "\n".join(document(found, many, measured)) + "\n"
    print(text, end="")
    if asked.write:
        asked.write.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
