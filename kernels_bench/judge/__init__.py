"""Verdicts on measured figures.

A wrong result fails whatever its speed. A figure measured beside other programs, throttled or on a slice is INVALID.
`specifications.toml` names for each row the public tables it was compared with; a figure that none confirms judges
nothing. Where others published what such a GPU reaches, it is held to that.
"""
