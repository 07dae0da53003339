"""The memory that an engine on a CPU may still take, limited by the machine, its NUMA nodes and its control groups."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from kernels_bench.devices.cpu import host_free_bytes

NODES = Path("/sys/devices/system/node")
CONTROL_GROUPS = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")

# Files of a control group with its limit and its usage, in version 2 and in version 1.
LIMIT_AND_USAGE = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))
# What vLLM counts as available on a NUMA node.
AVAILABLE_ON_A_NODE = ("MemFree", "Active(file)", "Inactive(file)", "SReclaimable")


def available_bytes(ranks: int = 1) -> int:
    """Return the memory that each of `ranks` may still take.

    vLLM binds each rank to the memory of one NUMA node, so no rank may take more than the fullest node has left.
    """
    shared = min([host_free_bytes(), *_left_in_groups()]) // ranks
    return max(0, min([shared, *map(_left_on, _own_nodes())]))


class MemoryNode(NamedTuple):
    """The memory of a NUMA node, or of a machine without them, as vLLM counts it."""

    total_bytes: int
    available_bytes: int


def memory_nodes() -> list[MemoryNode]:
    """Return the nodes on which this process may run; vLLM heeds the limit of the outermost control group alone."""
    nodes = [MemoryNode(found["MemTotal"], _left_on(found)) for found in _own_nodes() if "MemTotal" in found]
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    nodes = nodes or [MemoryNode(pages, host_free_bytes())]
    for root, (limit, usage) in zip((CONTROL_GROUPS, CONTROL_GROUPS / "memory"), LIMIT_AND_USAGE, strict=True):
        if (most := _number(root / limit)) is not None:
            left = max(0, most - (_number(root / usage) or 0))
            return [
                MemoryNode(most, min(node.available_bytes, left)) if most < node.total_bytes else node for node in nodes
            ]
    return nodes


def _left_in_groups() -> Iterator[int]:
    """Yield what is left in each control group with a limit that holds this process."""
    try:
        lines = OWN_GROUPS.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root = CONTROL_GROUPS / "memory" if controllers else CONTROL_GROUPS
        group = root / path.lstrip("/")
        while group.is_relative_to(root):
            for limit, usage in LIMIT_AND_USAGE:
                limit_bytes, used_bytes = _number(group / limit), _number(group / usage)
                if limit_bytes is not None and used_bytes is not None:
                    yield limit_bytes - used_bytes
            group = group.parent


def _left_on(node: dict[str, int]) -> int:
    return sum(node[name] for name in AVAILABLE_ON_A_NODE)


def _own_nodes() -> Iterator[dict[str, int]]:
    """Yield the bytes by name of each NUMA node on which this process may run."""
    own_cores = os.sched_getaffinity(0)
    for node in NODES.glob("node[0-9]*"):
        try:
            text, cores = (node / "meminfo").read_text(), (node / "cpulist").read_text()
        except OSError:
            continue
        kib = {name: int(number) for name, number in re.findall(r"^Node \d+ (\S+):\s+(\d+)", text, re.MULTILINE)}
        if own_cores & _listed(cores) and all(name in kib for name in AVAILABLE_ON_A_NODE):
            yield {name: 1024 * amount for name, amount in kib.items()}


def _listed(cores: str) -> set[int]:
    """Return the numbers of a list such as `0-3,8`."""
    ranges = [part.partition("-") for part in cores.strip().split(",") if part]
    return {core for first, _, last in ranges for core in range(int(first), int(last or first) + 1)}


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None  # the file is missing, or says `max`
