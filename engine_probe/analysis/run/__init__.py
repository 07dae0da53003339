"""The figures of one run: requests, latencies, tokens over time, energy, GPU health."""
