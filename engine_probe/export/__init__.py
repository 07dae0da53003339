"""Recordings and sweeps written in the formats of other programs."""
