"""The phases of an engine's start, recognised by the lines that vLLM writes to its log while it starts.

The lines were read in the source of the versions in `LINES_OF`. An unknown line changes nothing, so that a version
which words them differently shows fewer phases and never a wrong one.
"""

from __future__ import annotations

import re

import msgspec

LINES_OF = ("0.28.0", "0.32.0", "0.33.0")
IMPORTING = "importing vLLM"
COMPILING = "compiling"
WORTH_TELLING_SECONDS = 0.5  # shorter phases are in the total alone

# The phase that begins with a line; among several that match, the first.
PHASES = tuple(
    (phase, re.compile(line))
    for phase, line in (
        ("reading the configuration", r"non-default args: |Resolved architecture: "),
        ("preparing the device", r"Initializing a V1 LLM engine \("),
        ("loading weights", r"Starting to load model |^Loading .*(shards|safetensors)|^Multi-thread loading shards"),
        ("preparing the weights", r"Loading weights took \S+ seconds"),
        ("profiling memory", r"Model loading took |Using \w+ KV cache layout\.|torch\.compile took "),
        ("profiling memory", r"Profiling CUDA graph memory"),
        (COMPILING, r"Warming up model for the compilation|Starting torch\.compile|Dynamo bytecode transform time"),
        ("allocating the KV cache", r"Warming up done\.|Available KV cache memory: |KV cache size: "),
        ("warming up", r"Compile and warming up model for size |Graph capturing finished in "),
        ("capturing CUDA graphs", r"Capturing CUDA graphs"),
        ("preparing the tokenizer", r"init engine \(.*\) took "),
    )
)
BAR = re.compile(r"(\d+)%(?: Completed)? ?\|")  # how tqdm draws a share
LINE_END = re.compile(r"[\r\n]+")


class Phase(msgspec.Struct, frozen=True):
    """A phase of the start, and its seconds."""

    name: str
    seconds: float

    @property
    def words(self) -> str:
        return f"{self.name} {self.seconds:.0f} s"


class Starting(msgspec.Struct, frozen=True):
    """An engine that starts: the phase it is in, how far that is where the log says so, and the phases before it."""

    phase: Phase
    share: float | None = None
    finished: tuple[Phase, ...] = ()

    @property
    def words(self) -> str:
        share = "" if self.share is None else f" {self.share:.0%},"
        return f"{self.phase.name}{share} {self.phase.seconds:.0f} s"


class Started(msgspec.Struct, frozen=True):
    """An engine that has started: its phases in the order in which they began last, and the seconds of all together."""

    phases: tuple[Phase, ...]
    seconds: float

    @property
    def words(self) -> list[str]:
        return [f"engine started in {self.seconds:.0f} s", *longest_first(self.phases)]


def worth_telling(phases: tuple[Phase, ...]) -> list[Phase]:
    """The phases that took half a second or more."""
    return [phase for phase in phases if phase.seconds >= WORTH_TELLING_SECONDS]


def longest_first(phases: tuple[Phase, ...]) -> list[str]:
    """The phases worth telling; a line that is too narrow for all then holds those that took most of the time."""
    return [phase.words for phase in sorted(worth_telling(phases), key=lambda phase: -phase.seconds)]


class StartPhases:
    """Reads a growing log. Each call says what time it is, so a phase's seconds are as fine as the calls are close.

    A phase that begins again, as when a second rank loads its weights after the first, goes on counting.
    """

    def __init__(self, now: float) -> None:
        self._began = self._since = now
        self._name = IMPORTING
        self._share: float | None = None
        self._seconds = {IMPORTING: 0.0}
        self._rest = ""

    def enter(self, name: str, now: float) -> None:
        """Begin a phase, unless it is the one under way."""
        if name == self._name:
            return
        self._seconds[self._name] += now - self._since
        self._seconds[name] = self._seconds.pop(name, 0.0)  # in the order in which they began last
        self._name, self._since, self._share = name, now, None

    def read(self, text: str, now: float) -> None:
        """Read what was appended. The last line may not be whole yet: it counts as far as it goes, and again later."""
        *lines, self._rest = LINE_END.split(self._rest + text)
        for line in [*lines, self._rest]:
            name = next((phase for phase, pattern in PHASES if pattern.search(line)), None)
            if name is None:
                continue
            self.enter(name, now)
            if bar := BAR.search(line):
                self._share = int(bar[1]) / 100

    def starting(self, now: float) -> Starting:
        """The phase under way, and those before it."""
        finished = tuple(Phase(name, seconds) for name, seconds in self._seconds.items() if name != self._name)
        return Starting(Phase(self._name, self._seconds[self._name] + now - self._since), self._share, finished)

    def started(self, now: float) -> Started:
        """All phases; the last one ends now."""
        seconds = {**self._seconds, self._name: self._seconds[self._name] + now - self._since}
        return Started(tuple(Phase(name, value) for name, value in seconds.items()), now - self._began)


class FinishedPhases:
    """Gives each phase of an engine's start once it has ended, if it took long enough to be told."""

    def __init__(self) -> None:
        self._running = ""

    def ended(self, now: Starting) -> Phase | None:
        before, self._running = self._running, now.phase.name
        if before == self._running:
            return None
        return next((phase for phase in worth_telling(now.finished) if phase.name == before), None)
