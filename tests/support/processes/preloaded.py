"""What every engine does at its start, done once in the process that engines are forked from.

vLLM looks through all that was imported for kernels of Triton, which it replaces on a CPU, and sets the level of each
logger; this project reads vLLM's arguments from its sources. These were two thirds of an engine's start.
"""

from vllm.config.logging import LoggingConfig
from vllm.logger import configure_logging
from vllm.platforms import current_platform

from engine_probe.engine.arguments import check_arguments

check_arguments({"max_model_len": 1, "block_size": 1, "enforce_eager": True})
configure_logging(LoggingConfig(log_level="INFO"))
if hasattr(current_platform, "register_triton_kernel_overrides"):  # not in every vLLM
    current_platform.register_triton_kernel_overrides()
    type(current_platform).register_triton_kernel_overrides = classmethod(lambda cls: None)
