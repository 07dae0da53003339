"""Statistics that know nothing of engines: samples, repeats, rank tests, steady rates, fits."""
