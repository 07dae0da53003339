"""Costs, earnings and hardware options of runs and sweeps, and the price lists that they are computed from."""
