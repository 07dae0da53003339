"""Loads in other words: users for concurrent requests, and bursts as a makespan."""
