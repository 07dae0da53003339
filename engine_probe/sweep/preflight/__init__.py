"""What a dry run shows before a sweep starts: its points, their duration, and whether memory holds them.

Durations come from earlier sweeps on such hardware. Without one there is a lower bound: reading all weights in each
step at the bandwidth that `validate` measured. Without that, the duration is called unknown. With `--ray` a dry run
checks whether the fleet can hold the engines and predicts no time.
"""
