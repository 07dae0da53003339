"""Compare the decisions of the twin's scheduler with those of a real CPU engine, on workloads drawn by chance.

Usage: `python -m tools.results.twin.faithfulness --write docs/results/twin/faithfulness.md`, in the
root of the repository.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tools.result_page import head_commit, options, show, table

# vLLM's settings of each are in tests/support/engines/twin_faithfulness.py, which starts it.
ENGINES = (
    "plain",
    "prefix caching",
    "asynchronous",
    "asynchronous, prefix caching",
    "priority",
    "asynchronous, priority",
    "short chunks",
    "whole prompts",
    "windows",
    "windows in some layers",
    "drafts",
    "drafts, prefix caching",
)
CASES = 63  # of each engine
AT_ONCE = 2  # engines that are compared at the same time
WRITTEN = "docs/results/twin/faithfulness.md"


def compared(name: str, cases: int, seed: int) -> dict[str, Any]:
    """Compare one engine in a process of its own, and return what was equal; a difference ends this."""
    command = [sys.executable, "-m", "tests.support.engines.twin_faithfulness", name, "--cases", str(cases)]
    done = subprocess.run([*command, "--seed", str(seed)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{name}: {done.stderr[-4000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(json.dumps(found), file=sys.stderr, flush=True)
    return found


def document(found: Sequence[dict[str, Any]], cases: int, seed: int, commit: str) -> Iterator[str]:
    total = {name: sum(each[name] for each in found) for name in ("cases", "steps", "preemptions", "counted")}
    yield "# Whether the twin decides what a real engine decides"
    yield ""
    every, steps, preemptions, counted = (f"{number:,}" for number in total.values())
    yield f"In {every} of {every} random workloads the twin's scheduler decided in every step what the real CPU"
    yield f"engine's decided: {steps} steps with {preemptions} preemptions. In {counted} of them the twin counted"
    yield "requests instead of asking vLLM about each (`engine_probe/engine/twin/counting/counting_scheduler.py`)."
    yield ""
    counts = ("steps", "preemptions", "counted")
    rows = ((each["engine"], each["cases"], *(f"{each[name]:,}" for name in counts)) for each in found)
    yield from table(("engine", "workloads", "steps", "preemptions", "steps with counted requests"), rows)
    yield ""
    asked = f"--cases {cases} --seed {seed} --write {WRITTEN}"
    yield f"    python -m tools.results.twin.faithfulness {asked}    (commit {commit})"
    yield ""
    yield "- Compared in each step, without the probe: the tokens given to each request, who was preempted, who runs"
    yield "  and waits in which order, and the free KV blocks. Both get the same requests before the same steps."
    yield "- A workload has 4 to 24 requests: shared and own prompt tokens, answers of up to 110 tokens, one to three"
    yield "  samples each, three priorities, aborts. The pool has 8 to 32 blocks of 32 tokens, 2 to 16 requests run,"
    yield "  and a step has 256 to 512 tokens. A difference is shrunk to the smallest workload that shows it."
    yield "- Sampled tokens are the real engine's in both: two samples that draw the same one share blocks."
    yield "- The real engine computes every token of the embedded `tiny` on vLLM's CPU build. That build switches"
    yield "  asynchronous scheduling off; for this comparison it is on in both, and each step is scheduled before the"
    yield "  one before it is updated, as on a GPU."


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--cases", type=int, default=CASES, help=f"workloads for each engine [{CASES}]")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    commit, number = head_commit(), len(ENGINES)
    seeds = range(asked.seed, asked.seed + number)  # other workloads for each engine
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = list(pool.map(compared, ENGINES, [asked.cases] * number, seeds))
    show(document(found, asked.cases, asked.seed, commit), asked.write)


if __name__ == "__main__":
    main()
