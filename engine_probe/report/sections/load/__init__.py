"""Loads in other words: users for concurrent requests, bursts as a makespan, and how many a GPU would hold."""
