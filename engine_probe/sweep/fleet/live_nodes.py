"""Which machines of a fleet are alive, which were lost, and what an engine claims of those that are left."""

import threading
import time

from engine_probe.engine.spec import EngineSpec
from engine_probe.sweep.execution.engine_run import TICK_SECONDS
from engine_probe.sweep.fleet.cluster import Cluster
from engine_probe.sweep.fleet.resources import Claim, Node, claim_of, has_gpus


class LiveNodes:
    """Asks the cluster once a tick, however many engine groups want to know."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._lost: set[str] = set()
        self._asking = threading.Lock()
        self._seen: tuple[float, list[Node]] = (time.monotonic(), cluster.nodes())
        self._on_gpus = has_gpus(self._seen[1])  # for good: an engine for GPUs is never moved to a machine without

    def alive(self) -> list[Node]:
        with self._asking:
            when, nodes = self._seen
            if time.monotonic() - when >= TICK_SECONDS:
                nodes = self._cluster.nodes()
                self._seen = (time.monotonic(), nodes)
            return nodes

    def claim(self, spec: EngineSpec) -> Claim:
        return claim_of(spec, self.alive(), self._on_gpus)

    def lose(self, node: str) -> None:
        """Remember that a machine was lost; the cluster may notice it only later."""
        self._lost.add(node)

    def avoided(self, claim: Claim) -> frozenset[str]:
        """Return the machines that were lost. Empty if no other one could hold the engine."""
        others = [node for node in self.alive() if node.id not in self._lost and claim.fits(node)]
        return frozenset(self._lost - {""}) if others else frozenset()

    def has_room(self, claim: Claim, avoid: frozenset[str]) -> bool:
        return any(claim.fits(node) for node in self.alive() if node.id not in avoid)
