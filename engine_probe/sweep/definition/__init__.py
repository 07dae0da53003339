"""The sweep file: its keys, the points that follow from it, and the checks of both.

`file_schema.py` holds every key with its meaning; docs/sweep_files.md, the JSON Schema and `--init` come from it.
`search.py` doubles the load until the goal is passed and then bisects. With `repeats` it measures again what the answer
rests on, until chance no longer decides, and says whether it does. `stop.saturated` ends an axis of load: higher
levels are rows *skipped*, decided from the rows alone, so that `--resume` decides the same.
"""
