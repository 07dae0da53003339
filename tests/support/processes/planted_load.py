"""A process that keeps one core and a share of the memory busy, so that tests can run on a busy machine.

    with planted_load(): ...
    python tests/support/processes/planted_load.py [--memory 0.25] [--cores 1] COMMAND [ARGUMENT...]

The load ends with the process that started it, even if that one is killed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context

from engine_probe.engine.child_process import die_with_parent


@contextmanager
def planted_load(memory: float = 0.25, cores: int = 1) -> Iterator[subprocess.Popen[str]]:
    """Hold that share of this machine's memory and keep so many cores busy inside the block."""
    command = [sys.executable, __file__, "--hold", str(int(memory * memory_bytes())), "--cores", str(cores)]
    load = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert load.stdout is not None
        assert load.stdout.readline() == "ready\n", "the planted load did not start"
        yield load
    finally:
        load.kill()
        load.wait()


def memory_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def hold(held_bytes: int, cores: int) -> None:
    """Write to every page, then compute until killed."""
    die_with_parent()
    held = b"\1" * held_bytes
    for _ in range(cores - 1):
        get_context("fork").Process(target=compute_with_parent, args=(os.getpid(),), daemon=True).start()
    print("ready", flush=True)
    compute()
    del held


def compute_with_parent(parent: int) -> None:
    die_with_parent()
    if os.getppid() == parent:  # else it was killed before this process asked to die with it
        compute()


def compute() -> None:
    while True:
        sum(range(1 << 16))


def main() -> int:
    parser = argparse.ArgumentParser(description="Run a command beside a process that keeps the machine busy.")
    parser.add_argument("--memory", type=float, default=0.25, help="share of the machine's memory [0.25]")
    parser.add_argument("--cores", type=int, default=1, help="busy cores [1]")
    parser.add_argument("--hold", type=int, metavar="BYTES", help=argparse.SUPPRESS)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    if options.hold is not None:
        hold(options.hold, options.cores)
    if not options.command:
        parser.error("name a command to run beside the load")
    with planted_load(options.memory, options.cores):
        return subprocess.call(options.command)


if __name__ == "__main__":
    sys.exit(main())
