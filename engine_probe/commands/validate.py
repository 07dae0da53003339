"""`engine_probe validate`: the hardware by itself, before any engine. The command of `python -m kernels_bench`."""

from kernels_bench.cli import command

__all__ = ["command"]
