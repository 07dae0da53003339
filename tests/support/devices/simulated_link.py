"""Two GPUs and their link on a virtual clock, behind the names of `torch.cuda`: streams, events, graphs and copies.

A copy between GPUs is launched as torch does it: the sender's stream waits for an event of the receiver's stream, and
the receiver's for one of the sender's. A capture keeps CUDA's rules: no wait for what is not captured, and no end
before every stream that joined is waited for. The truth about a copy is `copy_ns`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

CYCLE_NS = 0.6
HOST_NS = 1_000.0  # to launch anything but a copy
EVENT_NS, WAIT_NS = 150.0, 150.0  # an event and a wait on a stream
GRAPH_NS = 6_000.0  # from the replay's turn on the stream to its first node
ISOLATION = "CUDA error: dependency created on uncaptured work in another stream"
UNJOINED = "CUDA error: capturing stream has unjoined work"
INVALIDATED = "CUDA error: operation failed due to a previous error during capture"


class Capture:
    """Holds the copies of a graph, each with those it waits for."""

    def __init__(self, origin: Stream) -> None:
        self.origin, self.streams, self.broken = origin, {origin}, False
        self.copies: list[tuple[Buffer, Buffer, frozenset[int]]] = []

    def refuse(self, message: str) -> None:
        self.broken = True
        raise RuntimeError(message)


class Stream:
    def __init__(self, link: SimulatedLink, device: str) -> None:
        self.link, self.device, self.free_at = link, device, 0.0
        self.capture: Capture | None = None
        self.after: frozenset[int] = frozenset()  # the captured copies that what follows waits for
        self.joined = True

    def begin(self, capture: Capture | None) -> None:
        self.capture, self.after, self.joined = capture, frozenset(), True

    def do(self, device_ns: float, host_ns: float = HOST_NS) -> float:
        """Launch something; return when it is done."""
        self.link.host_ns += host_ns
        self.free_at = max(self.free_at, self.link.host_ns) + device_ns
        return self.free_at

    def wait_stream(self, other: Stream) -> None:
        event = Event(self.link)
        event.record(other)
        event.block(self)

    def synchronize(self) -> None:
        assert self.capture is None
        self.link.host_ns = max(self.link.host_ns, self.free_at)


class Event:
    def __init__(self, link: SimulatedLink) -> None:
        self.link, self.passed_ns = link, 0.0
        self.recorded_on: Stream | None = None
        self.capture: Capture | None = None
        self.after: frozenset[int] = frozenset()

    def record(self, stream: Stream | None = None) -> None:
        on = stream or self.link.current_stream(self.link.current)
        self.recorded_on, self.capture, self.after = on, on.capture, on.after
        if not self.capture:
            self.passed_ns = on.do(EVENT_NS)

    def block(self, stream: Stream) -> None:
        """Let a stream wait for the event; a stream that waits for a captured event joins its capture."""
        assert self.recorded_on
        if not self.capture:
            if stream.capture:
                stream.capture.refuse(ISOLATION)
            stream.do(WAIT_NS)
            stream.free_at = max(stream.free_at, self.passed_ns + WAIT_NS)
            return
        if stream is self.capture.origin:
            self.recorded_on.joined = self.after == self.recorded_on.after
        elif stream not in self.capture.streams:
            self.capture.streams.add(stream)
            stream.begin(self.capture)
        stream.after |= self.after
        stream.joined = stream is self.capture.origin

    def query(self) -> bool:
        return self.passed_ns <= self.link.host_ns

    def elapsed_time(self, end: Event) -> float:
        return (end.passed_ns - self.passed_ns) / 1e6


class Graph:
    def __init__(self, link: SimulatedLink) -> None:
        self.link = link
        self.copies: list[tuple[Buffer, Buffer, frozenset[int]]] = []

    def replay(self) -> None:
        stream = self.link.current_stream(self.link.current)
        ends: list[float] = []
        for received, sent, after in self.copies:
            received.content = sent.content if self.link.delivers else received.content
            ends.append(max((ends[number] for number in after), default=0.0) + self.link.copy_ns)
        stream.do(GRAPH_NS + max(ends))


@dataclass
class Buffer:
    """Stands in for a tensor."""

    link: SimulatedLink
    device: str
    content: bytes

    def __getitem__(self, part: slice) -> Buffer:
        return self

    def to(self, device: str) -> Buffer:
        return self

    def copy_(self, sent: Buffer, non_blocking: bool) -> None:
        assert non_blocking
        link = self.link
        source, target = link.current_stream(sent.device), link.current_stream(self.device)
        ready, done = Event(link), Event(link)
        ready.record(target)
        ready.block(source)
        if source.capture:
            if link.refusal:
                source.capture.refuse(link.refusal)
            source.capture.copies.append((self, sent, source.after))
            source.after = frozenset({len(source.capture.copies) - 1})
        else:
            source.do(link.copy_ns, link.launch_ns)
            self.content = sent.content if link.delivers else self.content
        done.record(source)
        done.block(target)


@dataclass
class SimulatedLink:
    """Stands in for torch; `launch_ns` is what Python takes to launch a copy."""

    copy_ns: float
    launch_ns: float
    refusal: str = ""  # what CUDA says to a copy in a capture
    delivers: bool = True
    host_ns: float = 0.0
    current: str = "cuda:0"
    streams: dict[str, Stream] = field(default_factory=dict)  # the current one of each device

    def __post_init__(self) -> None:
        self.streams = {device: Stream(self, device) for device in ("cuda:0", "cuda:1")}
        self.cuda = SimpleNamespace(
            Event=lambda enable_timing=False: Event(self),
            Stream=lambda device: Stream(self, device),
            CUDAGraph=lambda: Graph(self),
            graph=self.graph,
            device=self.device_of,
            stream=self.stream,
            current_stream=self.current_stream,
            synchronize=lambda device: self.streams[device].synchronize(),
            _sleep=lambda cycles: self.current_stream(self.current).do(cycles * CYCLE_NS),
        )

    def device(self, target: str) -> str:
        """Stand in for `torch.device`."""
        return target

    def current_stream(self, device: str) -> Stream:
        return self.streams[device]

    @contextmanager
    def device_of(self, device: str) -> Iterator[None]:
        before, self.current = self.current, device
        try:
            yield
        finally:
            self.current = before

    @contextmanager
    def stream(self, stream: Stream) -> Iterator[None]:
        before, self.streams[stream.device] = self.streams[stream.device], stream
        with self.device_of(stream.device):
            try:
                yield
            finally:
                self.streams[stream.device] = before

    @contextmanager
    def graph(self, graph: Graph, stream: Stream) -> Iterator[None]:
        """Capture; like torch's, it leaves its stream as the current one where it fails."""
        before, self.streams[stream.device] = self.streams[stream.device], stream
        capture = Capture(stream)
        stream.begin(capture)
        try:
            yield
        finally:
            unjoined = any(not one.joined for one in capture.streams)
            for one in capture.streams:
                one.begin(None)
            if capture.broken or unjoined:
                raise RuntimeError(INVALIDATED if capture.broken else UNJOINED)
            graph.copies = capture.copies
            self.streams[stream.device] = before


def torch_of(link: SimulatedLink) -> Any:
    return SimpleNamespace(cuda=link.cuda, device=link.device)
