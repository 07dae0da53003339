"""A point that several engines measure together: `replicas` in a sweep file, and `[[mix]]`.

Each engine has its own process, its share of the machine (or a machine of the fleet), the whole workload to itself and
a recording of its own below the point's folder (`replica-1`, ...). They start together: when all are warm, each is told
the same moment of the wall clock (`start_gate.py`). The row counts only the time in which all of them run.

If one of them fails, the point fails with its reason: the others are ended, and what they recorded is kept.
"""
