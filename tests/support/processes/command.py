"""Commands of this project, in processes of their own and in this one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner, Result

ENGINE_SECONDS = 900  # for a command that starts engines; an import of vLLM alone takes half a minute on a busy machine


def engine_probe(*words: object, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `engine_probe WORDS` with these variables set beside the others, and return what it printed.

    vLLM's own variables are not passed on: tests with an engine in this process set some.
    """
    command = [sys.executable, "-m", "engine_probe", *map(str, words)]
    known = {name: value for name, value in os.environ.items() if not name.startswith("VLLM_")} | environment
    return subprocess.run(command, cwd=cwd, env=known, capture_output=True, text=True, timeout=ENGINE_SECONDS)


def compare(*arguments: object) -> Result:
    """Run `engine_probe compare` in this process."""
    from engine_probe.commands.compare import command

    return CliRunner().invoke(command, [str(argument) for argument in arguments])
