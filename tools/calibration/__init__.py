"""Simulate measurements whose truth is known, and count how often what engine_probe concludes from them is true.

    make measure-calibration                            5,000 sweeps and what goes with them, on two cores
    make measure-calibration ARGS="--sweeps 500 --only curves --seed 3"

`shapes.py` draws throughput curves, `noise.py` what repeats and occasions add, `drain.py` runs with a fixed number of
requests. `curves.py` hands simulated sweeps to the product's
own functions and turn what these conclude into claims. `claims.py` says for each kind of claim when it is true and how
often it must be; `tally.py` counts, `table.py` writes the tables, `campaign.py` runs all of it.
"""
