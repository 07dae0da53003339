"""The messages to and from the engine's process: one JSON line each, over a pipe for each direction."""

import msgspec

from engine_probe.engine.cpu.cpu_kv_pool import KvNeed
from engine_probe.perplexity.scoring import Scoring
from engine_probe.sweep.definition.sweep_file import EngineSection, Point


class Job(msgspec.Struct, frozen=True):
    """The engine; the points that it measures follow one by one."""

    engine: EngineSection
    force: bool = False
    need: KvNeed | None = None  # the most KV cache that its points can use
    cores: tuple[int, ...] = ()  # those it may use; empty: all
    engines_here: int = 1  # that start at the same time and share this machine's memory


class Task(msgspec.Struct, frozen=True):
    """One point, the folder of its recording, and its id in the sweep."""

    point: Point
    folder: str
    id: str
    together: bool = False  # with other engines: once warm, it waits for a `Start`


class Start(msgspec.Struct, frozen=True):
    """The moment at which all engines of a point begin."""

    wall_ns: int


class StartStep(msgspec.Struct, frozen=True, tag=True):
    """A step of the start that no line of vLLM's log shows."""

    text: str


class Notice(msgspec.Struct, frozen=True, tag=True):
    """A choice made for the user; it stays on the screen."""

    text: str


class Began(msgspec.Struct, frozen=True, tag=True):
    """The measurement of the point with this number has begun."""

    number: int


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The engine is warm, and waits for the others of its point."""

    number: int


class Ended(msgspec.Struct, frozen=True, tag=True):
    """The point with this number is measured, and its recording is closed."""

    number: int


class Refused(msgspec.Struct, frozen=True, tag=True):
    """This engine cannot measure the point; it goes on with the next one."""

    number: int
    sentence: str


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The error that ends the process."""

    sentence: str
    exit_code: int


Message = StartStep | Notice | Began | Ready | Scoring | Ended | Refused | Failed
