"""The errors a person sees: one sentence each, and the exit code that belongs to it.

An error names what is wrong, which value, where, and what to do about it. The command line prints the
sentence and leaves with `exit_code`; in Python they are ordinary exceptions.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

INTERRUPTED = 130  # what a shell gives for Ctrl-C


class EngineProbeError(Exception):
    """Base of everything engine_probe raises on purpose."""

    exit_code = 3


class InputError(EngineProbeError):
    """What was asked for cannot be right: a wrong name, value, file or folder."""

    exit_code = 2


class UnavailableError(EngineProbeError):
    """The request is fine, but this machine cannot serve it: no disk space, no network, no vLLM."""

    exit_code = 3


class UnsupportedVersionError(UnavailableError):
    """vLLM (or Python) is outside the range whose inside the hooks were written against."""


class IncompleteRecordingWarning(UserWarning):
    """The probe failed and stepped aside; generation was not affected, the recording ends early."""


@contextmanager
def reported_to(fail: Callable[[Exception], None]) -> Iterator[None]:
    """Hand an error of our own work to `fail`, so that it ends the recording and nothing else."""
    try:
        yield
    except Exception as error:
        fail(error)
