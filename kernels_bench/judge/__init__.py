"""Verdicts on measured figures.

A wrong result fails, whatever its speed. A figure measured beside other programs, throttled or on a MIG slice is
INVALID. `specifications.toml` names for each row the public tables that it was compared with; a value that none
confirms is not used for verdicts. If others published what such a GPU reaches, it is compared with that.
"""
