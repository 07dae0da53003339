"""Time fresh set-ups, with uv and with pip, and write what they took into docs/results/set_up.md.

    make measure-set-up                           three runs of each, about half an hour on two cores
    make measure-set-up ARGS="--runs 1 --installers uv --caches warm --out try.md"
    make measure-set-up ARGS="--sweep"            also times `make sweep` from a clone to its first result

Each run clones the commit that is checked out into a temporary folder and makes its `.venv` there: what a sweep needs,
then what the tests need beside it. uv and pip get a cache of their own: for a cold run an empty one, for a warm run the
one that a cold run filled. A phase ends where the next line of the set-up appears. Run it when the machine does nothing
else; the load before and after is written down.
"""

import argparse
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from kernels_bench.devices.cpu import cpu
from tools.result_page import ROOT, head_commit, table

SWEEP, TESTS = ".venv/.engine-probe-sweep-ready", ".venv/.engine-probe-ready"
# The line with which a phase begins -> its column
PHASES = {
    "making .venv": "venv",
    "fetching uv": "fetching uv",
    "installing ": "packages",
    "importing vLLM": "importing vLLM",
}
COLUMNS = [*dict.fromkeys(PHASES.values()), "for a sweep", "for the tests beside"]


@dataclass
class SetUp:
    """The seconds of one set-up, by column."""

    installer: str
    cache: str
    seconds: dict[str, float] = field(default_factory=dict)


def phase_seconds(lines: Sequence[tuple[float, str]], end: float) -> dict[str, float]:
    """Return the seconds of each phase from when each line of a set-up appeared."""
    begins = [
        (when, phase) for when, line in lines for words, phase in PHASES.items() if line.startswith(f"set-up: {words}")
    ]
    ends = [when for when, _ in begins[1:]] + [end]
    return {phase: after - when for (when, phase), after in zip(begins, ends, strict=True)}


def run_make(clone: Path, target: str, environment: dict[str, str]) -> tuple[dict[str, float], float]:
    """Make a target in a clone. Return the seconds of its phases and of all."""
    begun = time.monotonic()
    command = ["make", "--no-print-directory", target]
    lines: list[tuple[float, str]] = []
    with subprocess.Popen(command, cwd=clone, env=environment, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            lines.append((time.monotonic() - begun, line))
            print(f"  {line}", end="", flush=True)
    if process.returncode:
        sys.exit(f"measure: make {target} ended with {process.returncode} in {clone}")
    total = time.monotonic() - begun
    return phase_seconds(lines, total), total


def cloned(folder: Path) -> Path:
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    return folder


def environment_for(installer: str, caches: Path) -> dict[str, str]:
    variables = {"UV_CACHE_DIR": "uv", "PIP_CACHE_DIR": "pip", "ENGINE_PROBE_CACHE": "own", "VLLM_CACHE_ROOT": "vllm"}
    environment = {**os.environ, **{name: str(caches / folder) for name, folder in variables.items()}}
    environment.pop("PYTHONPATH", None)
    return {**environment, "ENGINE_PROBE_INSTALLER": installer}


def measured(installer: str, cache: str, caches: Path, folder: Path) -> SetUp:
    """Set up a fresh clone, first for sweeps, then for the tests."""
    if cache == "cold":
        shutil.rmtree(caches, ignore_errors=True)
    clone = cloned(folder / "clone")
    environment = environment_for(installer, caches)
    phases, total = run_make(clone, SWEEP, environment)
    _, more = run_make(clone, TESTS, environment)
    shutil.rmtree(clone)
    return SetUp(installer, cache, {**phases, "for a sweep": total, "for the tests beside": more})


def sweep_seconds(caches: Path, folder: Path) -> tuple[float, float]:
    """Return the seconds from the start of `git clone` to the first finished point of `make sweep`, and to its end."""
    shutil.rmtree(caches, ignore_errors=True)
    begun = time.monotonic()
    clone = cloned(folder / "sweep")
    first: list[float] = []
    ended = threading.Event()

    def watch() -> None:
        while not first and not ended.wait(0.5):
            if any(is_complete(path) for path in clone.glob("runs/*/points/*/run.json")):
                first.append(time.monotonic() - begun)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        run_make(clone, "sweep", environment_for("uv", caches))
    finally:
        ended.set()
        watcher.join()
    return first[0] if first else float("nan"), time.monotonic() - begun


def is_complete(path: Path) -> bool:
    try:
        return json.loads(path.read_text()).get("status") == "complete"
    except ValueError:  # being written
        return False


def rows(set_ups: Sequence[SetUp]) -> Iterator[str]:
    """Yield a table: a row for each run, then the median of each installer and cache."""
    found = []
    for installer, cache in dict.fromkeys((each.installer, each.cache) for each in set_ups):
        group = [each.seconds for each in set_ups if (each.installer, each.cache) == (installer, cache)]
        runs = {str(number): seconds for number, seconds in enumerate(group, 1)}
        if len(group) > 1:
            known = [column for column in COLUMNS if all(column in seconds for seconds in group)]
            runs["median"] = {column: median(seconds[column] for seconds in group) for column in known}
        for run, seconds in runs.items():
            cells = (f"{seconds[column]:.1f} s" if column in seconds else "" for column in COLUMNS)
            found.append((installer, cache, run, *cells))
    yield from table(("installer", "cache", "run", *COLUMNS), found, words=(0, 1, 2))


def document(set_ups: Sequence[SetUp], sweep: tuple[float, float] | None, load: tuple[float, ...], commit: str) -> str:
    host = cpu()
    # The set-ups fetch the uv of the lock file; this environment may have been made without one.
    uv = re.findall(r"^uv==(\S+)", (ROOT / "tools" / "locks" / "dev.txt").read_text(), re.MULTILINE)[0]
    loads = ["/".join(f"{value:.1f}" for value in each) for each in (load, os.getloadavg())]
    lines = [
        "# Seconds of a set-up",
        "",
        f"    {shlex.join(['.venv/bin/python', '-m', 'tools.results.measure_set_up', *sys.argv[1:]])}",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, commit {commit}: {host.name}, {host.cores} cores, "
        f"{host.memory_bytes / 2**30:.0f} GiB; Python {platform.python_version()}, uv {uv}, pip {version('pip')}.",
        f"Load average over 1, 5 and 15 minutes: {loads[0]} before, {loads[1]} after.",
        "",
        "Each run is a fresh clone in a temporary folder: what `make sweep` needs, then what `make test` needs beside",
        "it. Cold: uv and pip begin with empty caches. Warm: with what a cold run left.",
        "",
        *rows(set_ups),
    ]
    if sweep:
        lines += ["", "`git clone` and `make sweep`, everything cold, with uv: the first finished point after"]
        lines += [f"{sweep[0]:.0f} s, the end after {sweep[1]:.0f} s."]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=re.split(r"\n\n", __doc__ or "")[0])
    parser.add_argument("--runs", type=int, default=3, help="runs of each installer and cache [3]")
    parser.add_argument("--installers", nargs="+", choices=("uv", "pip"), default=["uv", "pip"])
    parser.add_argument("--caches", nargs="+", choices=("cold", "warm"), default=["cold", "warm"])
    parser.add_argument("--sweep", action="store_true", help="also run `make sweep` from a clone, everything cold")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results" / "set_up.md")
    asked = parser.parse_args()
    if asked.runs < 1:
        parser.error("--runs is counted from 1")
    load, commit = os.getloadavg(), head_commit()
    set_ups = []
    with TemporaryDirectory(prefix="set-up-") as temporary:
        folder = Path(temporary)
        for installer in asked.installers:
            caches = folder / f"{installer}-caches"
            # A warm run needs caches that are filled: by the cold runs, or by one that is not counted.
            if "cold" not in asked.caches:
                print(f"measure: {installer}, filling the caches", flush=True)
                measured(installer, "cold", caches, folder)
            for cache in sorted(set(asked.caches)):
                for number in range(asked.runs):
                    print(f"measure: {installer}, {cache} cache, run {number + 1} of {asked.runs}", flush=True)
                    set_ups.append(measured(installer, cache, caches, folder))
        sweep = sweep_seconds(folder / "sweep-caches", folder) if asked.sweep else None
        asked.out.write_text(document(set_ups, sweep, load, commit), encoding="utf-8")
        print("\n".join(rows(set_ups)), f"\nmeasure: written to {asked.out}; removing the clones", flush=True)


if __name__ == "__main__":
    main()
