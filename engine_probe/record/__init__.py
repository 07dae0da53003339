"""The recording: schemas, the hot-path buffer, the writer, the run folder, reading and recovery.

No recording may open as a wrong table:

- While a run goes on, each table is an Arrow IPC stream whose batches carry checksums. `kill -9` leaves whole batches
  up to the writer's last turn, which a busy machine or disk may delay beyond the usual 0.2 s.
- Events are written before the steps that they belong to: a step on disk never lacks the row of a request that it
  finished. `arrivals.arrows`, removed at close, tells which requests were in flight.
- What clients choose (priorities, ids, arrival times) is kept as far as its column goes; `run.json` counts what was
  changed or left out (`outside_values.py`).
- Closing rewrites the streams as files of large batches; their checksums are in `run.json`.
- A reader takes either form message by message and follows no offset of a footer. It compares the schema, bounds the
  expanded size (`expanded_size.py`), lets Arrow validate every offset and character, and refuses values that no engine
  can produce (`plausibility.py`).
- `load()` calls a recording `complete`, `incomplete` (the probe stepped aside; the traceback is kept), `cut` (the
  process is gone) or `recording`.
- vLLM gives arrivals by the wall clock. Each is kept as its age when it is queued, so setting the clock during a run
  moves no other arrival.

Design decisions that a reader of the tables may ask about: free blocks are `kv.blocks` of `run.json` minus the used
ones; `probe_ns` of a row covers the time since the row before, because the cost of packing a row is only known to the
next; device time stands in `workers`, one row per step and rank, where it is measured; token times follow from
stretches of steps; files are compressed (zstd), so a memory map reads only the columns asked for but is not zero-copy.
"""
