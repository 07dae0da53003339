"""`engine_probe validate`: measures the hardware without an engine. The command of `python -m kernels_bench`."""

from kernels_bench.cli import command

__all__ = ["command"]
