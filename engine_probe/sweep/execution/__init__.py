"""Runs a sweep: engine by engine, point by point, each row on disk before the next point. Begin with `runner.py`."""
