"""vLLM's own scheduler tests, run without the probe and with it on every scheduler they build: `make test-upstream`."""
