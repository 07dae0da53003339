"""The row of a point: the figures of its recording, and the driver's account of it.

Why a point ended, its warm-up and its steady part are in its `run.json`, as is the driver's clock, from which
`sweep.json` has the time between points. `probe = false` leaves that clock alone: `probe_overhead` alternates points
with and without the probe on one engine and gives the probe's cost of a whole point, where `engine_probe overhead`
gives the microseconds of a step.
"""
