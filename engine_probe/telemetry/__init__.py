"""What GPUs and host reported while the engine ran, on the recorder's clock.

A thread takes one row of the host and one of each GPU every 50 ms and stamps it with the time of the reading. A late
sample is counted and not caught up. Values that change slowly or are costly to read (processes, ECC errors, P-state,
the machine's CPU) are read once a second and are null in between. A reading that a GPU does not support is not tried
again: its column is null, and `run.json` names it. PCIe rates come from the GPU's byte counters, because NVML's own
reading blocks its caller for 40 ms.

The GPUs are those of `CUDA_VISIBLE_DEVICES`. Where NVML names our processes on some of them, the others are read once
a second. A MIG instance has memory of its own and the sensors of its GPU. If the sampler fails, its rows end and
`run.json` says so; the recording stays complete.
"""
