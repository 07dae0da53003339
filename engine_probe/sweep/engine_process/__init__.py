"""The process that holds the engine of a sweep: started, given one task after another, watched, ended.

Tasks and messages are JSON lines. While the engine starts, its log is followed: lines of vLLM that begin a phase are a
table in `engine/start_phases.py`, an unknown line changes nothing, and the seconds of each phase are `start_phases` in
`run.json` of the first point. Each task waits for the row before it, so a search runs on a warm engine.

A point ends with the last answer or by `[stop]`: after `seconds`; after `requests`, when those in flight are aborted so
that the load holds to the end; or when `steady`: at two checks in a row, the first after 30 s, half the 95 % interval
of the output tokens per second is below a tolerance, and everything in flight was answered twice over. `[warm_up]` runs
the same workload under another seed first. The prefix cache is emptied before every point, which would otherwise find
the prompts of earlier points.
"""
