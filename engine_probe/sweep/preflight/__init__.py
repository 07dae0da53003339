"""The checks before a sweep starts, and its dry run: the points, how long they take, and whether memory holds them.

Durations come from earlier sweeps on the same kind of hardware: of the same engine near this load or these lengths, or
else of what its steps cost in any recording (`recorded_prices.py`). Without one, the time to read all weights in each
step and to multiply all tokens is a lower bound, at the rates that `validate` measured; on a machine without GPUs that
was never measured, at those that its cores reach in a moment (`engine/cpu/core_rates.py`). Without either a point has
no predicted time, and the dry run names the command that records one. With `--ray` a dry run checks whether the fleet
can hold the engines and predicts no times.
"""
