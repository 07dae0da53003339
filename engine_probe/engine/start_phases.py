"""The phases of an engine's start, recognised by the lines of vLLM's log.

The patterns are from the sources of vLLM 0.28.0, 0.32.0 and 0.33.0. Other lines are ignored, so a version with other
words shows fewer phases, never wrong ones.
"""

import re

import msgspec

IMPORTING = "importing vLLM"
COMPILING = "compiling"
WORTH_TELLING_SECONDS = 0.5  # shorter phases are only part of the total

# A phase begins with a line that matches its pattern; the first pattern that matches counts.
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
BAR = re.compile(r"(\d+)%(?: Completed)? ?\|")  # a progress bar of tqdm
LINE_END = re.compile(r"[\r\n]+")


class Phase(msgspec.Struct, frozen=True):
    """Holds a phase of the start and its duration."""

    name: str
    seconds: float

    @property
    def words(self) -> str:
        return f"{self.name} {self.seconds:.0f} s"


class Starting(msgspec.Struct, frozen=True):
    """Holds the progress of a start: the current phase, its share if the log tells, and the phases before it."""

    phase: Phase
    share: float | None = None
    finished: tuple[Phase, ...] = ()

    @property
    def words(self) -> str:
        share = "" if self.share is None else f" {self.share:.0%},"
        return f"{self.phase.name}{share} {self.phase.seconds:.0f} s"


class Started(msgspec.Struct, frozen=True):
    """Holds the phases of a finished start, in the order in which they last began, and its total duration."""

    phases: tuple[Phase, ...]
    seconds: float

    @property
    def words(self) -> list[str]:
        return [f"engine started in {self.seconds:.0f} s", *longest_first(self.phases)]


def worth_telling(phases: tuple[Phase, ...]) -> list[Phase]:
    """Return the phases that took at least WORTH_TELLING_SECONDS."""
    return [phase for phase in phases if phase.seconds >= WORTH_TELLING_SECONDS]


def longest_first(phases: tuple[Phase, ...]) -> list[str]:
    """Return the words of the phases worth telling, the longest first, so that a narrow line cuts off the shortest."""
    return [phase.words for phase in sorted(worth_telling(phases), key=lambda phase: -phase.seconds)]


class StartPhases:
    """Reads a growing log; each call passes the time, so durations are as precise as calls are frequent.

    A phase that begins again, such as a second rank loading its weights, adds to its duration.
    """

    def __init__(self, now: float) -> None:
        self._started = self._since = now
        self._name = IMPORTING
        self._share: float | None = None
        self._seconds = {IMPORTING: 0.0}
        self._rest = ""

    def enter(self, name: str, now: float) -> None:
        """Begin a phase, unless it is the current one."""
        if name == self._name:
            return
        self._seconds[self._name] += now - self._since
        self._seconds[name] = self._seconds.pop(name, 0.0)  # moved to the end
        self._name, self._since, self._share = name, now, None

    def read(self, text: str, now: float) -> None:
        """Read text that was appended to the log; an unfinished last line is read now and again when it is whole."""
        *lines, self._rest = LINE_END.split(self._rest + text)
        for line in [*lines, self._rest]:
            name = next((phase for phase, pattern in PHASES if pattern.search(line)), None)
            if name is None:
                continue
            self.enter(name, now)
            if bar := BAR.search(line):
                self._share = int(bar[1]) / 100

    def starting(self, now: float) -> Starting:
        """Return the progress so far."""
        finished = tuple(Phase(name, seconds) for name, seconds in self._seconds.items() if name != self._name)
        return Starting(Phase(self._name, self._seconds[self._name] + now - self._since), self._share, finished)

    def started(self, now: float) -> Started:
        """End the last phase and return all of them."""
        seconds = {**self._seconds, self._name: self._seconds[self._name] + now - self._since}
        return Started(tuple(Phase(name, value) for name, value in seconds.items()), now - self._started)


class FinishedPhases:
    """Notices when a phase has ended."""

    def __init__(self) -> None:
        self._current = ""

    def ended(self, now: Starting) -> Phase | None:
        """Return the phase that has ended since the last call; None if none has, or it was too short to tell."""
        previous, self._current = self._current, now.phase.name
        if previous == self._current:
            return None
        return next((phase for phase in worth_telling(now.finished) if phase.name == previous), None)
