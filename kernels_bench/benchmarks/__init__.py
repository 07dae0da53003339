"""The benchmarks, one module for each test."""
