"""Samples of the GPUs and the host while the engine runs, and what the machine is.

A thread samples the host and each GPU every 50 ms; each row has the time of its reading. Late samples are counted and
not caught up. Values that change slowly or are costly to read (processes, ECC errors, P-state, the machine's CPU) are
read once a second and are null in between. A reading that a GPU does not support is not tried again: its column is
null, and `run.json` names it. PCIe rates come from the GPU's byte counters, because NVML's own reading blocks its
caller for 40 ms.

The GPUs are those of `CUDA_VISIBLE_DEVICES` and those of the engine's ranks, by UUID. The others than the ranks' (or,
without UUIDs, than those on which NVML lists our processes) are sampled only once a second. A MIG instance has its own
memory and the sensors of its GPU. If the sampler fails, its rows end and `run.json` says so; the recording stays
complete.
"""
