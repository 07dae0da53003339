"""What is read in each worker process: a row per step, its memory, and the weights that it holds.

Workers are called through vLLM's `collective_rpc`, before and after a recording and never during it. A worker that
does not answer within `PATIENCE_SECONDS` is given up, and `run.json` says so (`calls.py`). Every figure of memory and
weights stands beside its source, and a missing one beside its reason.
"""
