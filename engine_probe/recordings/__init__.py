"""Opened recordings and sweeps: tables as Arrow, facts as data, and notes on what is missing or doubtful.

What is read from a URI is copied to the cache, and only what changed is copied again. A key of a bucket that leads
outside its copy is refused.
"""
