"""Opened recordings and sweeps: tables as Arrow, facts as data, and notes on missing or doubtful parts.

Files behind a URI are copied to the cache, and only changed files are copied again. A key of a bucket that leads
outside its copy is refused.
"""
