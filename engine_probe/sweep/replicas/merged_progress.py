"""The progress of several engines as that of one: what a screen shows of a point that they measure together."""

import threading
from dataclasses import replace

from engine_probe.analysis.run.live_latencies import NO_MEDIANS
from engine_probe.engine.start_phases import Started, Starting
from engine_probe.recordings.live_reader import Moment
from engine_probe.sweep.engine_process.messages import Began, Notice, Ready, StartStep
from engine_probe.sweep.execution.events import Event, LogText, Placed, Show
from engine_probe.sweep.results.point_results import PointResult, Unmeasured

MOST_HOSTS = 2  # that are named


class MergedProgress:
    """Merges events: the start of the engine that is furthest behind, and the sum of what all measure."""

    def __init__(self, engines: int, number: int, show: Show) -> None:
        self._engines, self._number, self._show = engines, number, show
        self._lock = threading.Lock()
        self._starting = set(range(engines))
        self._has_begun = False
        self._moments: dict[int, Moment] = {}
        self._hosts: list[str] = []

    def show(self, engine: int, event: Event) -> None:
        """Take an event of this engine, from 0."""
        with self._lock:
            merged = self._merged(engine, event)
        if merged is not None or event is None:
            self._show(merged)

    def _merged(self, engine: int, event: Event) -> Event:
        match event:
            case Moment():
                self._moments[engine] = event
                return summed(list(self._moments.values()))
            case Began():
                self._starting.discard(engine)
                if self._starting or self._has_begun:
                    return None
                self._has_begun = True
                return Began(self._number)
            case Starting() | StartStep() if not self._starting or engine != min(self._starting):
                return None
            case StartStep(text):
                return StartStep(f"engine {engine + 1} of {self._engines}: {text}")
            case Notice(text):
                return Notice(f"engine {engine + 1}: {text}")
            case Placed(host=host):
                self._hosts.append(host)
                hosts = list(dict.fromkeys(self._hosts))
                return Placed(", ".join(hosts) if len(hosts) <= MOST_HOSTS else f"{len(hosts)} machines")
            case Started() | LogText():
                return event if engine == 0 else None
            case Ready() | PointResult() | Unmeasured():
                return None
        return event


def summed(moments: list[Moment]) -> Moment:
    """Return the state of all engines: sums of counts and the fullest pool; medians cannot be merged."""
    return replace(
        moments[0],
        output_tokens=sum(one.output_tokens for one in moments),
        running=sum(one.running for one in moments),
        waiting=sum(one.waiting for one in moments),
        kv_share=max(one.kv_share for one in moments),
        preemptions=sum(one.preemptions for one in moments),
        seconds=max(one.seconds for one in moments),
        answered=NO_MEDIANS,
        step_ns=None,
    )
