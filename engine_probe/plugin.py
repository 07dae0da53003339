"""Recording in vLLM's own processes, such as the engine core of a server, where no Python of the user runs.

vLLM calls `register` in each of its processes (entry point `vllm.general_plugins`). It does nothing unless the
user asks for a recording:

    ENGINE_PROBE_RECORD=runs/serving python -m vllm.entrypoints.openai.api_server ...

Every engine core then records into a folder of its own below `runs/serving`, from when it is built until it is
shut down. ENGINE_PROBE_FORCE=1 is the consent to a vLLM that the hooks do not know; ENGINE_PROBE_OPERATORS=20@100 runs
torch's profiler in 20 steps from step 100 on.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine_probe.engine.cpu.amx import REQUEST_VARIABLE, request_amx

if TYPE_CHECKING:
    from engine_probe.probe import Probe

RECORD_VARIABLE = "ENGINE_PROBE_RECORD"
FORCE_VARIABLE = "ENGINE_PROBE_FORCE"
OPERATORS_VARIABLE = "ENGINE_PROBE_OPERATORS"

# Below vLLM's own logger, so that these lines appear where and when vLLM's do.
logger = logging.getLogger("vllm.engine_probe")

_probes: dict[int, Probe] = {}  # by id of the engine core, from built to shut down


def register() -> None:
    """Do what the environment asks for; vLLM calls this. Importing this module alone loads nothing."""
    try:
        if os.environ.get(REQUEST_VARIABLE):  # first: an engine without it dies, recorded or not
            request_amx()
        if os.environ.get(RECORD_VARIABLE):
            _watch()
    except Exception as error:  # vLLM would not start
        logger.error("engine_probe records nothing: %s: %s", type(error).__name__, error)


def _watch() -> None:
    from engine_probe.hook.vllm_versions import check_version
    from engine_probe.record.run_json import operator_window

    check_version(_forced())
    if window := os.environ.get(OPERATORS_VARIABLE):
        operator_window(window, OPERATORS_VARIABLE)
    from engine_probe.hook.core_lifecycle import hook_core_lifecycle

    hook_core_lifecycle(on_built=start, on_shutdown=stop)


def _forced() -> bool:
    return os.environ.get(FORCE_VARIABLE) == "1"


def start(core: Any) -> None:
    """Record this engine core; whatever is wrong is said, and the engine goes on without."""
    if id(core) in _probes:
        return
    try:
        from engine_probe.probe import Probe
        from engine_probe.record.run_folder import new_folder

        folder = new_folder(Path(os.environ[RECORD_VARIABLE]))
        window = os.environ.get(OPERATORS_VARIABLE) or None
        _probes[id(core)] = Probe(core, folder, force=_forced(), operators=window).__enter__()
        logger.info("engine_probe records this engine into %s", folder)
    except Exception as error:
        logger.error("engine_probe does not record this engine: %s", error)


def stop(core: Any) -> None:
    """Close the recording while the workers are still there."""
    if probe := _probes.pop(id(core), None):
        try:
            probe.__exit__(None, None, None)
            logger.info("engine_probe closed %s", probe.folder.path)
        except Exception as error:  # even a warning that somebody has made an error of
            logger.error("engine_probe: %s", error)
