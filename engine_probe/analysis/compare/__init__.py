"""Two measurements compared, and the effect of load tested.

`compare` pairs points by their settings. A bound of `--fail-if` is one planned test (`gates.py`); everything else that
is judged together is corrected together. Points of a curve share what is known of their noise (`pooled_changes.py`).
All points together are also judged as pairs, which takes no repeats.

A recording of a sweep keeps a checksum of each answer (table `answers`). Greedy answers to the same prompts are
compared between loads: the requests of one reference load against the same requests at every higher load.
"""
