"""How fast the twin is, what part of its time is vLLM's own scheduler, and how much memory many requests take.

Usage: `python -m tools.results.twin.speed --write docs/results/twin/speed.md`, in the root of the repository.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from engine_probe.commands.sweep.twin import on_device
from engine_probe.hook.vllm_versions import installed_vllm
from engine_probe.sweep.definition.sweep_file import Point, SweepFile, points
from engine_probe.workload.request_plan import MOST_HELD
from tools.result_page import options, show, table

TWINS = (("llama-3.1-8b", "L4"), ("llama-3.1-8b", "L40S"), ("llama-3.1-8b", "H100"))
USERS = (16, 64, 256)
REQUESTS_OF_EACH = 4  # of each user
LENGTHS: dict[str, Any] = {"256": 256, "64-448": {"kind": "uniform", "low": 64, "high": 448}}
MANY = (10_000, 100_000, 1_000_000)
TOLD_EACH = 30  # seconds
WRITTEN = "docs/results/twin/speed.md"
EXPLAINED = """\
Processor time of the thread that runs engine, probe and driver. Other programs on the machine (see its load) lengthen
it unevenly: figures of one row compare, those of two rows hardly do. `x` is virtual time by it. vLLM alone: the same
twin with every step computed by vLLM's `schedule()` and `update_from_output()`, and the part of its time that is spent
in these two: no twin that calls them in every step is faster than that. Step times are the least of the datasheet, so
real GPUs make `x` larger. A faster card leaves less time for the same work of vLLM, so that `x` falls with it."""


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
    from engine_probe.sweep.engine_process.recorded_point import run_probed

    llm = worker.start_engine(Job(points(asked)[0].engine), lambda message: None, until)
    folder = Path(until.enter_context(tempfile.TemporaryDirectory()))

    def run(point: Point) -> dict[str, Any]:
        plan = worker.plan_for(llm, point.workload.description())
        worker.empty_prefix_cache(llm)
        name = str(len(list(folder.iterdir())))
        began, cpu = time.monotonic(), time.thread_time()  # the first reads the virtual clock
        run_probed(llm, Task(point, str(folder / name), name), plan, None, False, lambda message: None)
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
        resident = Resident()
        took = run(points(asked)[0])
        during = {"quarter": resident.at(0.25), "late": resident.at(0.95)}
        return [{"requests": requests, "before": before, **during, **took}]


class Resident(threading.Thread):
    """Reads the process's resident memory every second, and tells it, until the process ends."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._read, self._told = list[int](), 0.0
        self.start()

    def run(self) -> None:
        begun = time.perf_counter()  # which is not the virtual clock
        while True:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self._read.append(pages * resource.getpagesize())
            if len(self._read) % TOLD_EACH == 1:
                words = f"{time.perf_counter() - begun:,.0f} s: {self._read[-1] / 2**20:,.0f} MiB"
                print(words, file=sys.stderr, flush=True)
            time.sleep(1)

    def at(self, share: float) -> int:
        """Return what it was when this share of the time until now had passed."""
        return self._read[int(share * len(self._read))]


def measured(parts: Path | None, *words: str) -> list[dict[str, Any]]:
    """Measure one part in a process of its own, or take it from the folder of parts; each row says when."""
    kept = parts / f"{'-'.join(words).strip('-')}.json" if parts else None
    if kept and kept.exists():
        return list(json.loads(kept.read_text(encoding="utf-8")))
    day, load = f"{datetime.now():%Y-%m-%d}", os.getloadavg()[0]
    done = subprocess.run([sys.executable, "-m", "tools.results.twin.speed", *words], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(words)} failed")
    loads = (load, os.getloadavg()[0])
    rows = [{**row, "day": day, "loads": loads} for row in json.loads(done.stdout.splitlines()[-1])]
    if kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(rows), encoding="utf-8")
    return rows


def document(found: list[dict[str, Any]], many: list[dict[str, Any]]) -> Iterator[str]:
    yield "# How fast the twin is"
    yield ""
    numbers, loads = " ".join(str(each["requests"]) for each in many), [each["loads"] for each in (*found, *many)]
    yield f"    python -m tools.results.twin.speed --many {numbers} --write {WRITTEN}"
    yield ""
    days = " and ".join(dict.fromkeys(each["day"] for each in (*many, *found)))
    yield (
        f"Measured on {days} with vLLM {vllm_version()}, on {os.cpu_count()} cores at a load of "
        f"{min(map(min, loads)):.0f} to {max(map(max, loads)):.0f}."
    )
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
    yield "Resident memory of the engine's process; prompts of 16 tokens, answers of 8, 512 users, H100, recorded."
    yield f"The plan of more than {MOST_HELD:,} sessions is in a temporary file. Of each request 16 bytes stay:"
    yield "when it was answered, and how late the driver handed it over. At the end the recorded streams are rewritten"
    yield "as files with large batches, all tables at once: that is the peak."
    yield ""
    titles = ("requests", "before it runs", "after a quarter", "after 95%", "peak, at its end", "us for each request")
    rows = []
    for each in many:
        sizes = (f"{each[name] / 2**20:,.0f} MiB" for name in ("before", "quarter", "late", "memory"))
        rows.append((f"{each['requests']:,}", *sizes, f"{each['seconds'] / each['requests'] * 1e6:,.0f}"))
    yield from table(titles, rows, words=())


def vllm_version() -> str:
    found = installed_vllm()
    assert found is not None, "vLLM is not installed"
    return found[1]


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--twin", nargs=2, metavar=("MODEL", "GPU"), help="print one twin's figures as JSON")
    parser.add_argument("--requests", type=int, help="print the memory of so many requests as JSON")
    parser.add_argument("--many", type=int, nargs="*", default=MANY, help="numbers of requests for the memory")
    parser.add_argument("--parts", type=Path, metavar="FOLDER", help="keep figures of parts there, or take them")
    asked = parser.parse_args()
    if asked.twin or asked.requests:
        print(json.dumps(speeds(*asked.twin) if asked.twin else memory(asked.requests)))
        return
    many = [each for number in asked.many for each in measured(asked.parts, "--requests", str(number))]
    found = [each for twin in TWINS for each in measured(asked.parts, "--twin", *twin)]
    show(document(found, many), asked.write)


if __name__ == "__main__":
    main()
