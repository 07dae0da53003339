"""The sweep file: its keys, the points that follow from it, and the checks of both.

`file_schema.py` reads every key and its meaning off the types; docs/sweep_files.md, the JSON Schema and `--init` are
made from it. `search.py` doubles the load until the goal is passed and then bisects; with `repeats` it repeats the
levels that the answer rests on until the answer is significant. `stop.saturated` ends a load axis: higher levels become
rows *skipped*, decided from the rows alone, so that `--resume` decides the same.
"""
