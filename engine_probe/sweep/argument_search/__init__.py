"""The search over engine arguments: what may vary, which setting is tried next, and the trials as points of a sweep.

The rows are the truth: each suggestion is a function of the seed and of the rows so far, so that a resumed search asks
for what an uninterrupted one would have asked for, and no second database exists.
"""
