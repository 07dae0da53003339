"""The figures of one run: requests, latencies, tokens over time, energy, GPU health.

GPU health (reduced clocks and their causes, temperature, P-state, new ECC errors) stands beside the figures of every
run and sweep, so that a throttled GPU is not taken for a limit of the engine. Energy is the GPU's own counter between
the ends of the run, or the integral of its power where the counter does not move. Where less than nine tenths of the
run was sampled, there is no figure.
"""
