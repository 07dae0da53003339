"""Pipeline parallelism on vLLM's CPU build, whose later stages are set up only by the run that compiles the model."""

from collections.abc import Mapping

from engine_probe.engine.cpu.cpu_binding import cpu_build
from engine_probe.engine.parallelism import parallel_size
from engine_probe.errors import InputError

STAGES = "pipeline_parallel_size"
NO_COMPILATION = (0, "0", "NONE")


def check_stages(arguments: Mapping[str, object]) -> None:
    """Refuse several stages without compilation: vLLM would start, and fail an assertion at the first request."""
    stages = parallel_size(arguments, STAGES)
    if stages < 2 or not cpu_build():
        return
    if (name := uncompiled_by(arguments)) is not None:
        raise InputError(
            f"engine.arguments.{STAGES} is {stages} and {name} turns compilation off: vLLM's CPU build sets up the "
            f"later stages only while it compiles the model: leave {name} out"
        )


def uncompiled_by(arguments: Mapping[str, object]) -> str | None:
    """Return the argument that turns compilation off. None if none does."""
    if arguments.get("enforce_eager"):
        return "enforce_eager"
    config = arguments.get("compilation_config")
    if isinstance(config, Mapping) and config.get("mode") in NO_COMPILATION:
        return "compilation_config.mode"
    if arguments.get("compilation_config.mode") in NO_COMPILATION:
        return "compilation_config.mode"
    return "optimization_level" if arguments.get("optimization_level") in (0, "0") else None
