"""The requests that an engine gets: prompts, answer lengths and arrivals, and the driver that hands them over.

The same description and seed give the same requests, byte for byte (`sha256` of the plan). Each prompt has its own
random stream, so other answer lengths or arrivals do not change the prompts, and a smaller number of requests is the
beginning of a larger one. The driver checks before every step which requests are due, and sleeps only while the engine
is idle. It returns for each request when it was planned and when the engine got it. The later turns of a conversation
contain the engine's own answers.
"""
