"""What is read in each worker process: a row per step, the memory in use, and the weights.

Workers are called through vLLM's `collective_rpc` before and after a recording, never during it. If a worker does not
answer within `PATIENCE_SECONDS`, the recording goes on without it and `run.json` says so (`calls.py`). Each figure of
memory and weights is stored with its source, each missing one with its reason.
"""
