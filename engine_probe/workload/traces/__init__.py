"""Recorded traffic: files of requests with their times and lengths, and of the sessions of agents with their pauses."""
