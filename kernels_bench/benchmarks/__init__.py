"""The benchmarks, one module for each test; `names.py` lists them."""
