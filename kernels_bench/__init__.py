"""Microbenchmarks of the hardware in plain torch, with a verdict for each figure.

    python -m kernels_bench

Needs torch and the core dependencies, but not vLLM or engine_probe. Importing it loads no torch.

A failed test becomes a row, and the next test runs. After a CUDA fault a process can run nothing more on any GPU, so
the remaining tests are SKIPPED with that reason. Ctrl-C keeps what is finished. A GPU that other programs use is not
touched. With each figure goes the share of the cores that other programs used meanwhile.
"""
