"""Simulate measurements whose truth is known, and count how often what engine_probe concludes from them is true.

    make measure-calibration                            5,000 sweeps and what goes with them, on two cores
    make measure-calibration ARGS="--sweeps 500 --only curves --seed 3"

`shapes.py` draws throughput curves, `noise.py` what chance does to runs, `drain.py` runs a fixed number of requests.
`curves.py`, `comparisons.py`, `load_effects.py` and `stops.py` hand simulated measurements to the functions with which
the product judges real ones, and turn what these conclude into claims. `claims.py` says for each kind of claim when it
is true and how often it must be. `tally.py` counts, `table.py` and `document.py` write, `campaign.py` runs all of it.
`learned.py` prints the constants that the analysis of a curve has from such sweeps.
"""
