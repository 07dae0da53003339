"""Loads in other words: users, makespans, how many requests a GPU holds; and what of a report is predicted."""
