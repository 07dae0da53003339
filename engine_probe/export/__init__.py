"""Recordings and sweeps written for other programs."""
