"""Verdicts on measured figures."""
