"""Costs, earnings, energy and hardware options: the section, and its sentences."""
