"""Throughput and latency over load: levels, saturation, regions, and the highest load that meets an SLO.

The regions A, B and C belong to the curve of throughput over concurrency. `curve_fits.py` fits broken lines and bending
curves, each ending in a plateau, a slope or a cliff; `growth.py` weights them. A region is as certain as the weight of
the lines that agree on it. Whether throughput falls at the end is decided by the weight of all falls together. A ends,
by convention, where a request gets less than 80 % of what it would get alone (`NEAR`).

The highest load that meets an SLO is the last level before the first that misses it. Wilson's interval of each share
says which levels are undecided, and `next_levels.py` which levels to measure next.
"""
