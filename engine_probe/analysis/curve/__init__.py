"""Throughput and latency over load: levels, saturation, regions, and the most load that meets an SLO."""
