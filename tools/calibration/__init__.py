"""Simulate measurements whose truth is known, and count how often what engine_probe concludes from them is true.

`shapes.py` draws throughput curves, `noise.py` what repeats and occasions add, `drain.py` runs with a fixed number of
requests.
"""
