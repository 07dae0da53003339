"""engine_probe: what a vLLM engine really does, iteration by iteration.

Importing this loads neither torch nor vllm and changes nothing.
"""

from engine_probe.errors import EngineProbeError, InputError, UnavailableError, UnsupportedVersionError

__all__ = ["EngineProbeError", "InputError", "UnavailableError", "UnsupportedVersionError"]
