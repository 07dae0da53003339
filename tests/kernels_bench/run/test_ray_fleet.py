"""A real Ray cluster of nodes on this machine, each of which runs the command; one of them dies."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from kernels_bench.cli import command
from kernels_bench.judge.fleet import FleetReport, exit_code
from kernels_bench.run import ray_fleet
from kernels_bench.run.ray_fleet import NodeCommand, NodeRun, ended, run

pytestmark = [
    pytest.mark.lengthy,
    pytest.mark.skipif(find_spec("ray") is None, reason="no ray in this environment"),
]

HOLDER = """
import sys, time, ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
class Work:
    def begun(self): return True
work = ray.remote(num_cpus=1)(Work).remote()
ray.get(work.begun.remote())
print("held", flush=True)
time.sleep(300)
"""
LAUNCH = ("--only", "launch")  # without --quick: on busy cores its minute may be over before the test


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def cluster(cache: Path) -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patched.setenv("ENGINE_PROBE_CACHE", str(cache))
        patched.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
        small = {"num_cpus": 1, "object_store_memory": 80 << 20}
        made = Cluster(initialize_head=True, head_node_args={**small, "include_dashboard": False})
        made.small = small
        made.add_node(**small)
        yield made
        made.shutdown()


@pytest.mark.timeout(600)
@pytest.mark.slow
def test_two_nodes_measure_themselves_and_stand_in_one_table(cluster: Any, cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "fleet.json"
    line = ["--ray", cluster.address, "--device", "cpu", *LAUNCH, "--json", str(path)]
    done = CliRunner().invoke(command, line)
    assert done.exit_code == 0, done.output
    report = msgspec.json.decode(path.read_bytes(), type=FleetReport)
    assert len(report.nodes) == 2
    for node in report.nodes:
        assert node.report is not None
        assert [(result.test, result.name) for result in node.report.results] == [("launch", "operator")]
        assert node.name in done.stdout
    assert "2 nodes, 2 devices" in done.stdout
    assert "runs on cpu" in done.stderr
    assert list((cache / "ceilings").glob("cpu-*/*.json"))  # stored on the node, by the command that ran there


@pytest.mark.timeout(600)
@pytest.mark.slow
def test_a_node_that_dies_is_a_row_and_the_others_go_on(cluster: Any) -> None:
    doomed = cluster.add_node(**cluster.small)
    said: list[str] = []
    number = next(node["NodeID"] for node in living(cluster) if node["RayletSocketName"] == doomed.raylet_socket_name)

    def tell(text: str) -> None:
        said.append(text)
        if "runs on cpu" in text and number[:6] in text:
            cluster.remove_node(doomed, allow_graceful=False)

    found = run(cluster.address, NodeCommand("cpu", ("--quick", "--only", "memory,launch"), 0.05), tell)
    dead = [node for node in found.nodes if node.report is None]
    assert [node.node_id for node in dead] == [number]
    assert "died" in dead[0].failed
    assert [node.report.quick for node in found.nodes if node.report] == [True, True]
    assert exit_code(found) == 3
    assert any("GB/s" in text for text in said)  # what the nodes came to meanwhile
    while len(living(cluster)) > 2:  # until the cluster has noticed, too
        time.sleep(0.5)


@pytest.mark.timeout(600)
@pytest.mark.slow
def test_ctrl_c_stops_every_node_and_keeps_what_each_had_finished(cluster: Any) -> None:
    heard: set[str] = set()

    def tell(text: str) -> None:
        if "GB/s" in text:
            heard.add(text.partition(":")[0])
        if len(heard) == 2:
            raise KeyboardInterrupt

    found = run(cluster.address, NodeCommand("cpu", ("--quick", "--only", "memory,launch"), 0.05), tell)
    assert found.stopped
    for node in found.nodes:
        assert node.report is not None, node.failed
        assert node.report.stopped
        assert node.report.results[0].figure is not None
        assert node.report.results[-1].reasons == ("stopped by Ctrl-C",)
    assert exit_code(found) == 130


def living(cluster: Any) -> list[dict[str, Any]]:
    with ray_fleet.connected(cluster.address) as ray:
        return [node for node in ray.nodes() if node["Alive"]]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_a_node_refuses_is_its_row(cluster: Any) -> None:
    found = run(cluster.address, NodeCommand("cpu", ("--only", "p2p"), 0.05), lambda text: None)
    reasons = {node.failed for node in found.nodes}
    assert reasons == {"no report: it ended with 3 and said: --only p2p needs two GPUs, and there is cpu only"}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_devices_that_others_hold_are_not_waited_for_for_ever(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_fleet, "START_S", 15.0)
    with subprocess.Popen([sys.executable, "-c", HOLDER, cluster.address], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert "held" in iter(holder.stdout.readline, "").__next__()
        found = run(cluster.address, NodeCommand("cpu", LAUNCH, 0.05), lambda text: None)
        holder.terminate()
    assert sum(1 for node in found.nodes if node.report) == 1
    assert "its 1 CPUs did not become free in 15 s" in next(node.failed for node in found.nodes if not node.report)


@pytest.mark.parametrize(
    ("address", "code", "said"),
    [
        ("here", 2, "give auto or HOST:PORT"),
        ("ray://head:10001", 2, "give auto or HOST:PORT"),
        ("127.0.0.1:1", 3, "nothing answers there"),
    ],
)
def test_an_address_where_no_cluster_is(address: str, code: int, said: str) -> None:
    done = CliRunner().invoke(command, ["--ray", address])
    assert done.exit_code == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_without_the_package_the_way_to_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    done = CliRunner().invoke(command, ["--ray", "auto"])
    assert done.exit_code == 3
    assert "pip install 'engine-probe[ray]'" in done.stderr


def test_another_kernels_bench_on_a_node_is_no_report() -> None:
    place = NodeRun("gpu-7", "7" * 56, 1.0, 8.0)
    assert "its kernels_bench has another version" in ended(place, 0, b'{"schema": "kernels_bench/9"}', "").failed
    without = ended(place, 1, None, "/usr/bin/python3: No module named kernels_bench")
    assert without.failed.endswith("said: /usr/bin/python3: No module named kernels_bench")
