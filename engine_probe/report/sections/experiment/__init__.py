"""Sections of several sweeps as one experiment."""
