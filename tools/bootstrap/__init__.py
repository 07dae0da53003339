"""The parts of the set-up that `tools/environment.py` starts, for Python 3.11 and newer."""
