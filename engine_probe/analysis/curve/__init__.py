"""Throughput and latency over load: levels, saturation, regions, and the highest load that meets an SLO.

`shapes.py` has the families of curves of throughput over load: six ways to grow, and a plateau, a slope or a cliff to
end with. `posterior.py` draws curves of all of them, as many of each as the levels make likely (`likelihood.py`).
`growth.py` asks each where growth ends and in which region a level lies; a statement is as certain as the share of the
curves of which it is true. Regions have one rule for every family.

The highest load that meets an SLO is the last level before the first that misses it. Wilson's interval of each share
says which levels are undecided, and `next_levels.py` which levels to measure next.
"""
