"""An engine may take the least memory that the machine, a control group or a NUMA node has left."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine_probe.engine.cpu import host_memory

MIB = 1 << 20


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine of 1,000 MiB free memory, without control groups or NUMA nodes."""
    monkeypatch.setattr(host_memory, "host_free_bytes", lambda: 1000 * MIB)
    monkeypatch.setattr(host_memory, "NODES", tmp_path / "node")
    monkeypatch.setattr(host_memory, "CONTROL_GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(host_memory, "OWN_GROUPS", tmp_path / "own")


def write(file: Path, text: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{text}\n")


def test_is_what_the_machine_has_shared_by_the_ranks() -> None:
    assert host_memory.available_bytes() == 1000 * MIB
    assert host_memory.available_bytes(4) == 250 * MIB


@pytest.mark.parametrize("path", ["/", "/user/job", "/elsewhere/in/the/host"])
def test_a_container_limits_it(tmp_path: Path, path: str) -> None:
    write(tmp_path / "own", f"0::{path}")
    write(tmp_path / "cgroup" / "memory.max", 600 * MIB)
    write(tmp_path / "cgroup" / "memory.current", 200 * MIB)
    assert host_memory.available_bytes() == 400 * MIB


def test_the_tightest_of_nested_groups_counts(tmp_path: Path) -> None:
    write(tmp_path / "own", "0::/user/job")
    for group, limit in (("user", "max"), ("user/job", 300 * MIB)):
        write(tmp_path / "cgroup" / group / "memory.max", limit)
        write(tmp_path / "cgroup" / group / "memory.current", 100 * MIB)
    assert host_memory.available_bytes() == 200 * MIB


def test_groups_of_the_older_kind_count(tmp_path: Path) -> None:
    write(tmp_path / "own", "9:cpu,cpuacct:/job\n8:memory:/job")
    write(tmp_path / "cgroup" / "memory" / "job" / "memory.limit_in_bytes", 500 * MIB)
    write(tmp_path / "cgroup" / "memory" / "job" / "memory.usage_in_bytes", 450 * MIB)
    assert host_memory.available_bytes() == 50 * MIB


def test_a_group_above_its_limit_leaves_nothing(tmp_path: Path) -> None:
    write(tmp_path / "own", "0::/")
    write(tmp_path / "cgroup" / "memory.max", 100 * MIB)
    write(tmp_path / "cgroup" / "memory.current", 120 * MIB)
    assert host_memory.available_bytes() == 0


def node(folder: Path, number: int, cores: str, mib: int) -> None:
    """Make a NUMA node with that much of each kind of available memory, and with memory that is not available."""
    names = (*host_memory.AVAILABLE_ON_A_NODE, "MemUsed")
    lines = "\n".join(f"Node {number} {name}:  {mib * 1024} kB" for name in names)
    write(folder / "node" / f"node{number}" / "meminfo", lines)
    write(folder / "node" / f"node{number}" / "cpulist", cores)


def test_the_fullest_node_with_a_core_of_ours_counts(tmp_path: Path) -> None:
    ours, others = min(os.sched_getaffinity(0)), max(os.sched_getaffinity(0)) + 1
    node(tmp_path, 0, f"{ours}", 200)
    node(tmp_path, 1, f"{ours},{others}-{others + 3}", 100)
    node(tmp_path, 2, f"{others}", 10)
    node(tmp_path, 3, "", 10)
    assert host_memory.available_bytes() == 400 * MIB


NODE = """Node 0 MemTotal: 2048000 kB
Node 0 MemFree: 512000 kB
Node 0 Active(file): 102400 kB
Node 0 Inactive(file): 102400 kB
Node 0 SReclaimable: 102400 kB"""


def test_the_memory_of_a_node_is_what_vllm_counts(tmp_path: Path) -> None:
    cores = ",".join(map(str, os.sched_getaffinity(0)))
    write(tmp_path / "node" / "node0" / "meminfo", NODE)
    write(tmp_path / "node" / "node0" / "cpulist", cores)
    assert host_memory.memory_nodes() == [(2000 * MIB, 800 * MIB)]
    write(tmp_path / "own", "0::/user")
    write(tmp_path / "cgroup" / "user" / "memory.max", 100 * MIB)  # of which vLLM knows nothing
    write(tmp_path / "cgroup" / "user" / "memory.current", 50 * MIB)
    assert host_memory.memory_nodes() == [(2000 * MIB, 800 * MIB)]
    write(tmp_path / "cgroup" / "memory.max", 600 * MIB)
    write(tmp_path / "cgroup" / "memory.current", 100 * MIB)
    assert host_memory.memory_nodes() == [(600 * MIB, 500 * MIB)]


def test_without_nodes_it_is_that_of_the_machine() -> None:
    (node,) = host_memory.memory_nodes()
    assert node.total_bytes == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert node.available_bytes == 1000 * MIB
