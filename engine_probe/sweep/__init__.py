"""Sweeps: the file, its points, and measuring them on engines in processes of their own.

Each engine has a process of its own. vLLM's output goes to `engine.log`, and the sweep survives an engine's death: the
point that was running becomes a row with the reason, and the next point gets a new engine. An engine that dies at two
points in a row for the same reason is not started again; its other points are rows *not tried*, and `--resume` begins
with them. One that hangs is ended: a point after `point_seconds` or what it asks for
(`preflight/point_limit.py`), a start after `start_seconds`. Memory that ran out is named with the setting to lower.

A point's id is a hash of its resolved content, so `--resume` knows which points are complete. A cut point is set aside
and kept. A sweep file that lacks a point which is finished in the folder is refused.
"""
