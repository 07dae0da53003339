"""The requests that an engine gets: prompts, answer lengths and arrivals, and the driver that hands them over.

A description and a seed make the same requests, byte for byte (`sha256` of the plan). Each prompt has a random stream
of its own: other answer lengths or arrivals leave the prompts unchanged, and fewer requests are the first of more. The
driver checks before every step which requests are due and sleeps only while the engine is idle. For each request it
returns when it was planned and when the engine got it. Later turns of a
conversation contain the engine's own answers.
"""
