"""What is sent to engines on other machines (variables, files of points), and what comes back: whole or not at all."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from engine_probe.errors import UnavailableError
from engine_probe.files.new_file import writing
from engine_probe.hook.engine_core import PLACES, VARIABLE_PREFIXES
from engine_probe.sweep.definition.sweep_file import EngineSection, Point
from engine_probe.sweep.execution.folders import PARTIAL, RESUMABLE, new_log, set_aside
from engine_probe.workload.question_set.question_file import find_question_set
from engine_probe.workload.question_set.question_prompts import Questions
from engine_probe.workload.workload_spec import FromFile, prompt_files


def carried(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that are meant for the engines, wherever they run."""
    return {
        name: value for name, value in environment.items() if name.startswith(VARIABLE_PREFIXES) and name not in PLACES
    }


def datasets_of(point: Point, sent: set[str]) -> dict[str, bytes]:
    """Return the data sets that the point reads, without those in `sent`, to which they are added."""
    read = (point.quality.text,) if point.quality is not None else prompt_files(point.workload.prompts)
    new = [path for path in read if path not in sent]
    sent.update(new)
    asks = isinstance(point.workload.prompts, Questions)
    try:
        return {path: (find_question_set(path) if asks else Path(path).expanduser()).read_bytes() for path in new}
    except OSError as error:
        raise UnavailableError(f"{error.filename} cannot be read any longer: {error.strerror}") from error


def reading(point: Point, copies: Mapping[str, str]) -> Point:
    """Return the point with its files at other paths."""
    replace = msgspec.structs.replace
    if point.quality is not None:
        return replace(point, quality=replace(point.quality, text=copies[point.quality.text]))
    prompts = point.workload.prompts
    if not isinstance(prompts, FromFile):
        return point
    paths = tuple(map(copies.__getitem__, prompt_files(prompts)))
    path = paths if isinstance(prompts, Questions) else paths[0]
    return replace(point, workload=replace(point.workload, prompts=replace(prompts, path=path)))


def from_anywhere(engine: EngineSection) -> EngineSection:
    """Return the engine with an absolute model folder: the worker's process has another working directory."""
    local = Path(engine.model).expanduser()
    return msgspec.structs.replace(engine, model=str(local.absolute())) if local.is_dir() else engine


def reserve_log(folder: Path) -> Path:
    """Make an empty log with a free name, which no other engine group takes from now on."""
    while True:
        log = new_log(folder)
        with writing(log, RESUMABLE), suppress(FileExistsError):
            log.touch(exist_ok=False)
            return log


@contextmanager
def arriving(recording: Path) -> Iterator[Path]:
    """Give a folder beside the recording's, which takes its place when everything is in it."""
    partial = recording.with_name(f".{recording.name}{PARTIAL}")
    with writing(recording, RESUMABLE):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            yield partial
            set_aside(recording)
            partial.rename(recording)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
