"""An engine on the CPU: permission to use AMX, core binding, host memory and the size of the KV pool.

By default vLLM's CPU build reserves 92 % of the machine's memory and does not start beside another large process. If
the user sets no size of the KV pool, `cpu_kv_pool.py` chooses it: the most that the points of this engine can use, at
least one sequence of `max_model_len`, at most half of the memory that is free beside the weights (`host_memory.py`).
The choice depends on the sweep file and not on the points that are left, so a resumed sweep has the same pool.

Linux lets a process use AMX tiles only after a request, which vLLM's CPU attention does not make. `build_llm` makes it
for its own process (`amx.py`), the plugin for the processes that vLLM starts. `Probe(llm)` does not.

OpenMP waits passively unless the environment says otherwise, because spinning threads beside another busy program
turn a step of 30 ms into one of a second.
"""
