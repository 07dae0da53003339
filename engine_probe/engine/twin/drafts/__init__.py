"""Speculative decoding on a twin: how many draft tokens are accepted, and what a step then gives a request."""
