"""An engine on the CPU: AMX permission, core binding, the memory of the host and of the KV pool.

Left to itself, vLLM's CPU build reserves 92 % of the machine's memory and does not start beside another large process.
Where nobody sets the size of the KV pool, `cpu_kv_pool.py` chooses it: the most that the points of this engine can use,
at least one sequence of `max_model_len`, at most half of the memory that is free beside the weights
(`host_memory.py`: of the machine, its NUMA nodes and control groups). The choice follows from the sweep file and not
from the points that are left, so a resumed sweep has the same pool.

Linux lets a process use AMX tiles only after it asked for permission, and vLLM's CPU attention does not ask.
`build_llm` asks for its own process (`amx.py`), and the plugin for the processes that vLLM starts.
`Probe(llm)` does not ask.

OpenMP waits passively unless the environment says otherwise: spinning threads beside one other busy program turn a
step of 30 ms into one of a second.
"""
