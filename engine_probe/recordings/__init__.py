"""Opened recordings and sweeps: tables as Arrow, facts as data, and what must be said about them."""
