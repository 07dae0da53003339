"""Microbenchmarks of the hardware in plain torch, with a verdict for each figure.

    python -m kernels_bench

Runs alone: torch and the core dependencies, no vLLM and nothing of engine_probe. Importing it loads no torch.

A failed test is a row, and the next test runs. After a CUDA fault a process can run nothing more on any GPU, so
the rest is SKIPPED with that reason. Ctrl-C keeps what was finished. A GPU that other programs use is not touched.
Each figure stands beside the share of the cores that other programs used meanwhile.
"""
