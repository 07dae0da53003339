"""A recording on disk: schemas, the hot path's buffer, the writer, the run folder, reading and recovery.

A damaged or cut recording must never open as a wrong table:

- During a run each table is an Arrow IPC stream whose batches carry checksums. After `kill -9` all batches that the
  writer had written are readable; it writes every 0.2 s, unless the machine or the disk is busy.
- Events are written before the steps that they belong to, so that every request which a step on disk finished has its
  row on disk. `arrivals.arrows`, which is removed at close, shows which requests were in flight.
- Values that clients choose (priorities, ids, arrival times) may not fit their column: they are altered or left out,
  and counted in `run.json` (`outside_values.py`).
- Closing rewrites the streams as files of large batches; their checksums are in `run.json`.
- The reader takes streams and files message by message and follows no offset of a footer. It compares the schema,
  limits the expanded size (`expanded_size.py`), lets Arrow validate every offset and character, and refuses values that
  no engine can produce (`plausibility.py`).
- `load()` calls a recording `complete`, `incomplete` (the probe failed and stopped; the traceback is stored), `cut`
  (the process ended without closing it) or `recording`.

What a reader of the tables may ask: free blocks are `kv.blocks` of `run.json` minus the used ones. `probe_ns` of a row
covers the time since the row before, because the cost of packing a row is known only afterwards. Device time is in
`workers`, one row per step and rank, where it is measured. Token times are derived from stretches of steps. Files are
compressed (zstd), so a memory map reads only the columns that are asked for, but copies them.
"""
