"""`%load_ext engine_probe`, and `%%probe [ENGINE] [--out FOLDER]`: record a cell's engine, and show the run."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine_probe.errors import EngineProbeError, InputError
from engine_probe.probe import Probe

if TYPE_CHECKING:
    from engine_probe.recordings.run import Run

USAGE = "%%probe [ENGINE] [--out FOLDER]"
ENGINES = ("LLM", "LLMEngine", "EngineCore")


@dataclass(frozen=True)
class Asked:
    engine: str | None
    out: str | None


def register(shell: Any) -> None:
    """Add the cell magic to an IPython shell."""

    def probe(line: str, cell: str) -> Run:
        """Record what the cell's vLLM engine does: %%probe [ENGINE] [--out FOLDER]

        ENGINE is the name of a vllm.LLM, and may be left out if there is one; FOLDER is new or empty [default:
        runs/<time>-<pid>]. The run is the cell's result. If the cell fails, what was recorded is kept.
        """
        __tracebackhide__ = True  # an error of the cell is shown as without the magic
        return recorded(shell, line, cell)

    shell.register_magic_function(probe, "cell", "probe")


def recorded(shell: Any, line: str, cell: str) -> Run:
    """Run a cell with a probe on its engine; refusals are one sentence, errors of the cell are its own."""
    from IPython.core.error import UsageError

    __tracebackhide__ = True
    failure: BaseException | None = None
    try:
        asked = arguments(line)
        with Probe(engine_of(shell.user_ns, asked.engine), asked.out) as probe:
            try:
                run_cell(shell, cell)
            except BaseException as error:  # whatever ends a cell, Ctrl-C too; raised again
                failure = error
                raise
        return probe.run
    except EngineProbeError as error:
        if error is failure:
            raise
        raise UsageError(str(error)) from None
    finally:
        if failure is not None and probe.recording is not None and probe.recording.folder is not None:
            print(f"The cell failed; what was recorded until then is in {probe.recording.folder.path}.")


def arguments(line: str) -> Asked:
    """Parse the line behind `%%probe`."""
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise InputError(f"%%probe {line}: {error}; write {USAGE}") from error
    engine: str | None = None
    out: str | None = None
    while words:
        word = words.pop(0)
        if word == "--out" or word.startswith("--out="):
            out = word.removeprefix("--out=") if "=" in word else (words.pop(0) if words else "")
            if not out:
                raise InputError(f"%%probe --out names no folder: write {USAGE}")
        elif word.startswith("-") or engine is not None:
            raise InputError(f"%%probe does not know {word!r}: write {USAGE}")
        else:
            engine = word
    return Asked(engine, out)


def engine_of(names: Mapping[str, Any], asked: str | None) -> Any:
    """Return the engine of that name, or without a name the only one that there is."""
    if asked is not None:
        if asked not in names:
            raise InputError(f"%%probe {asked}: nothing here has that name; name the variable that holds the vllm.LLM")
        return names[asked]
    found = {id(value): name for name, value in reversed(list(names.items())) if is_engine(name, value)}
    if not found:
        raise InputError(
            "%%probe finds no vLLM engine: build one in a cell before, such as llm = LLM(...), and name it: %%probe llm"
        )
    if len(found) > 1:
        raise InputError(f"%%probe finds several engines, {' and '.join(sorted(found.values()))}: name one of them")
    (name,) = found.values()
    return names[name]


def is_engine(name: str, value: Any) -> bool:
    """Tell a user's engine by its class, without importing vLLM."""
    return not name.startswith("_") and any(
        each.__name__ in ENGINES and each.__module__.partition(".")[0] == "vllm" for each in type(value).__mro__
    )


def run_cell(shell: Any, cell: str) -> None:
    """Execute a cell in the user's names, with a traceback that shows its lines under its own number."""
    __tracebackhide__ = True
    source = shell.transform_cell(cell)
    number = len(shell.user_ns["In"]) - 1 or shell.execution_count  # IPython counts on before it runs a cell
    code = shell.compile(source, shell.compile.cache(source, number, raw_code=cell), "exec")
    exec(code, shell.user_ns)
