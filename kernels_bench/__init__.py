"""Is this hardware what was paid for? Microbenchmarks in plain torch, with a verdict for each figure.

    python -m kernels_bench

Runs alone: torch and the core dependencies, no vLLM and nothing of engine_probe. Importing it loads no torch.
"""
