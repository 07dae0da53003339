"""The errors that a user sees, each one sentence with an exit code.

An error names what is wrong, which value, where, and what to do about it. The command line prints the sentence and
exits with `exit_code`; in Python they are ordinary exceptions.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

INTERRUPTED = 130  # the exit code of shells for Ctrl-C


class EngineProbeError(Exception):
    """Base class of the errors of engine_probe."""

    exit_code = 3


class InputError(EngineProbeError):
    """The input is wrong: a name, a value, a file or a folder."""

    exit_code = 2


class UnavailableError(EngineProbeError):
    """The input is right, but this machine cannot do it: no disk space, no network, no vLLM."""

    exit_code = 3


class UnsupportedVersionError(UnavailableError):
    """The hooks do not support this version of vLLM or Python."""


class IncompleteRecordingWarning(UserWarning):
    """The probe failed and stopped recording; generation is not affected."""


@contextmanager
def reported_to(fail: Callable[[Exception], None]) -> Iterator[None]:
    """Pass an error of our own code to `fail`, so that it ends only the recording."""
    try:
        yield
    except Exception as error:
        fail(error)


def reason_of(error: BaseException) -> str:
    """Return an error with its kind, as `run.json` and messages name it."""
    return f"{type(error).__name__}: {error}"
