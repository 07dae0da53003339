"""The figures of one run: requests, latencies, tokens over time, energy, GPU health.

GPU health (reduced clocks and their causes, temperature, P-state, new ECC errors) stands beside the figures of every
run and sweep, so that a throttled GPU is not mistaken for a limit of the engine. Energy is the difference of the GPU's
own counter over the run, or the integral of its power if the counter does not move. There is no figure if less than
90 % of the run was sampled.
"""
