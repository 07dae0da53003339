"""Checks of the arguments of `Probe`, before anything is attached or written."""

import difflib
import os
from collections.abc import Iterable, Mapping
from typing import Any

from engine_probe.errors import InputError
from engine_probe.record.run_json import checked_additions

OPTIONS = ("out", "facts", "force", "telemetry", "operators")


def check_arguments(out: Any, facts: Any, force: Any, unknown: Iterable[str]) -> None:
    """Refuse unknown keywords and impossible values; the sampler checks `telemetry`."""
    for name in unknown:
        near = difflib.get_close_matches(name, OPTIONS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"to store it in run.json, pass facts={{{name!r}: ...}}"
        raise TypeError(f"Probe has no argument {name!r}: {hint}")
    if out is not None and (not isinstance(out, str | os.PathLike) or not os.fspath(out)):
        raise InputError(f"out is {out!r}: give a new or empty folder, or leave it out for runs/<time>-<pid>")
    if isinstance(out, str) and "://" in out:
        raise InputError(f"out is {out!r}: a Probe records into a folder of this machine; copy the folder afterwards")
    if not isinstance(force, bool):
        raise InputError(f"force is {force!r}: give True or False")
    if facts is None:
        return
    if not isinstance(facts, Mapping) or not all(isinstance(name, str) for name in facts):
        raise InputError(f"facts is {facts!r}: give a dict with names as its keys, which run.json will store")
    checked_additions(dict(facts))
